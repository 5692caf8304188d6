"""The sanitizer: small kernels with one fault each, found and named, beside right ones that raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from specforge.backend.emulator.compiler import HostCompiler
from specforge.backend.emulator.module import EmulatedModule, EmulationFault
from tests.backend.emulator.sanitize_kernels import FAULTY, RIGHT, SCHEDULES, lines_of, run, source_of

shadow = pytest.mark.parametrize("sanitize", ["shadow"], indirect=True, scope="session")

# The pattern of the programming guide: every block leaves its part, the last one adds them up.
LAST_BLOCK = """
extern "C" __global__ void %s(const float* parts, float* sums, int* count, int n) {
  __shared__ bool last;
  sums[1 + blockIdx.x * 64 + threadIdx.x] = parts[threadIdx.x];  // there
  %s
  if (threadIdx.x == 0) { %s last = atomicAdd(count, 1) == (int)gridDim.x - 1; }
  __syncthreads();
  if (!last) return;
  float sum = 0;
  for (int i = threadIdx.x; i < 64 * (int)gridDim.x; i += 64) sum += sums[1 + i];  // here
  atomicAdd(sums, sum);
  if (threadIdx.x == 0) *count = 0;
}
extern "C" __global__ void clear(const float*, float* sums, int* count, int) { sums[0] = 0; *count = 0; }
"""


@pytest.fixture(scope="module")
def faulty(build: Callable[..., Any]) -> Any:
    source = source_of({name: body for name, (_, _, body) in FAULTY.items()})
    return build(source, list(FAULTY)).module


@pytest.fixture(scope="module")
def right(build: Callable[..., Any]) -> Any:
    return build(source_of(RIGHT), list(RIGHT)).module


@shadow
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_found_and_named(faulty: EmulatedModule, compiler: HostCompiler, name: str, schedule: int) -> None:
    kind, text, _ = FAULTY[name]
    if name == "float4_between" and compiler.kind == "clang":
        run(faulty, [name], schedule)  # it does not check the address of a whole struct that it copies
        return
    with pytest.raises(EmulationFault) as found:
        run(faulty, [name], schedule)
    assert found.value.kind == kind, found.value
    source = source_of({name: body for name, (_, _, body) in FAULTY.items()})
    places = [f"(kernel.cu.j2:{line})" for line in lines_of(name, source, "here")]
    assert any(place in found.value.message for place in places), found.value
    if kind == "race":
        assert "thread (" in found.value.message
        assert found.value.message.count("kernel.cu.j2:") == 2
    if schedule == 0:
        assert text in found.value.message


@shadow
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_raises_no_alarm(right: EmulatedModule, name: str, schedule: int) -> None:
    run(right, [name], schedule)


@shadow
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    "fences",
    [
        ("__threadfence(); __syncthreads();", ""),
        ("__syncthreads();", "__threadfence();"),
        ("__threadfence(); __syncthreads();", "__threadfence();"),
    ],
)
def test_the_last_block_has_seen_the_others(build: Callable[..., Any], fences: tuple[str, str], schedule: int) -> None:
    module = build(LAST_BLOCK % ("reduce", *fences), ["reduce", "clear"]).module
    y = run(module, ["clear", "reduce"], schedule, grid=4, nbytes=4 * (1 + 256))
    assert y[0] == 4 * np.arange(64).sum()


@shadow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_a_fence_it_has_not(build: Callable[..., Any], schedule: int) -> None:
    source = LAST_BLOCK % ("reduce", "__syncthreads();", "")
    module = build(source, ["reduce", "clear"]).module
    with pytest.raises(EmulationFault) as found:
        run(module, ["clear", "reduce"], schedule, grid=4, nbytes=4 * (1 + 256))
    assert found.value.kind == "race"
    for mark in ("here", "there"):
        (line,) = lines_of("reduce", source, f"{mark}")[-1:] if mark == "there" else lines_of("reduce", source, " here")
        assert f"kernel.cu.j2:{line}" in found.value.message
    assert "of block (" in found.value.message


@shadow
def test_a_library_says_what_it_looks_for(faulty: EmulatedModule) -> None:
    assert faulty.sanitize == "shadow"


@shadow
def test_a_faulty_launch_leaves_the_module_usable(right: EmulatedModule, faulty: EmulatedModule) -> None:
    for name in ("no_barrier", "half_shared", "two_owners", "no_barrier"):
        with pytest.raises(EmulationFault):
            run(faulty, [name], 0)
    faulty.close()
    with pytest.raises(EmulationFault, match="race"):
        run(faulty, ["no_barrier"], 0)
    right.close()
    assert run(right, ["exchange"], 0)[0] == 63
