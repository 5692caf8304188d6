"""The emulator as a backend: real kernels, guard zones, poison, faults."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from cuda.pathfinder import find_nvidia_header_directory

from specforge.backend.buffers import GUARD
from specforge.backend.emulated import STACKS, EmulatorRunner
from specforge.backend.emulator.compile import compile_host, find_host_compiler
from specforge.backend.emulator.sanitize import Sanitize
from specforge.backend.runner import Execution, KernelFault, Runner
from specforge.backend.worker import Worker, WorkerCrashed
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance

ENTRIES = (
    "saxpy", "past_end", "before_start", "changes_input", "half_done", "hangs", "wild", "scaled", "where",
    "through_scratch",
)  # fmt: skip
SOURCE = r"""
#define ARGS const float* x, const float* y, float* out, float a, int n
#define INDEX int i = blockIdx.x * blockDim.x + threadIdx.x
extern "C" __global__ void saxpy(ARGS) { INDEX; if (i < n) out[i] = a * x[i] + y[i]; }
extern "C" __global__ void past_end(ARGS) { INDEX; if (i < n) out[i + 3] = 1.0f; }
extern "C" __global__ void before_start(ARGS) { INDEX; if (i < n) out[i - 2] = 1.0f; }
extern "C" __global__ void changes_input(ARGS) { INDEX; if (i == 5) const_cast<float*>(x)[i] = 77.0f; }
extern "C" __global__ void half_done(ARGS) { INDEX; if (i < n / 2) out[i] = a * x[i] + y[i]; }
extern "C" __global__ void hangs(ARGS) { if (threadIdx.x == 0) __syncthreads(); else __shfl_sync(~0u, 1, 0); }
extern "C" __global__ void wild(ARGS) { out[1ll << 44] = 1.0f; }
extern "C" __global__ void scaled(const float* x, float* out, long long big, int n) {
  INDEX; if (i < n) out[i] = x[i] * (float)(big >> 32);
}
extern "C" __global__ void where(const float* x, float* out, int n) {
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    out[0] = (float)((unsigned long long)x % 256); out[1] = (float)((unsigned long long)out % 256);
  }
}
extern "C" __global__ void through_scratch(const float* x, float* to, int n) { INDEX; if (i < n) to[i] = x[i]; }
"""


def plan_of(*launches: LaunchPlan, n: int, scratch: bool = False) -> Plan:
    buffers = [
        BufferPlan("x", (n,), "f32", "in", ("normal",), "cold", ()),
        BufferPlan("y", (n,), "f32", "in", ("normal",), "hot", ()),
        BufferPlan("out", (n,), "f32", "out", ("normal",), "hot", ()),
    ]
    if scratch:
        buffers.append(BufferPlan("scratch", (n,), "f32", "scratch", ("normal",), "hot", ()))
    tolerance = {"out": Tolerance(False, 1e-6)}
    return Plan("test/saxpy", "", {}, {}, tuple(buffers), launches, 12.0 * n, 2.0 * n, n, tolerance)


def saxpy(n: int, entry: str = "saxpy") -> Plan:
    return plan_of(LaunchPlan(entry, (-(-n // 64), 1, 1), (64, 1, 1), 0, ("x", "y", "out", 3.0, n)), n=n)


def draw(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(n).astype(np.float32) for name in ("x", "y")}


def run_saxpy(runner: Runner, payload: tuple[Plan, str, int]) -> Execution:
    plan, path, n = payload
    return runner.run(plan, path, draw(n))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("emulated"), "off")


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("sanitized"), "shadow")


def build(folder: Path, sanitize: Sanitize) -> str:
    headers = [Path(str(find_nvidia_header_directory(name))) for name in ("cudart", "cccl")]
    compiler = find_host_compiler()
    built = compile_host(
        '#line 1 "saxpy.cu"\n' + SOURCE,
        ENTRIES,
        include_dirs=[],
        cuda_include_dirs=headers,
        cache_dir=folder,
        compiler=compiler,
        sanitize=sanitize,
    )
    return str(built)


@pytest.fixture(scope="module")
def runner() -> EmulatorRunner:
    return EmulatorRunner()


@pytest.mark.parametrize("offset", [0, 16, 240])
@pytest.mark.parametrize("n", [1, 63, 64, 1000])
@pytest.mark.parametrize("schedule", [0, 1, 12345])
def test_results_are_right_and_nothing_else_is_touched(
    runner: EmulatorRunner, library: str, n: int, offset: int, schedule: int
) -> None:
    inputs = draw(n)
    done = runner.run(saxpy(n), library, inputs, schedule=schedule, offset=offset)
    np.testing.assert_allclose(done.outputs["out"], np.float32(3) * inputs["x"] + inputs["y"], rtol=1e-6, atol=1e-6)
    assert done.violations == ()


def test_outputs_are_copies(runner: EmulatorRunner, library: str) -> None:
    first = runner.run(saxpy(100), library, draw(100, 1)).outputs["out"]
    kept = first.copy()
    runner.run(saxpy(100), library, draw(100, 2))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("offset", [0, 32])
def test_alignment_is_what_was_asked(runner: EmulatorRunner, library: str, offset: int) -> None:
    plan = plan_of(LaunchPlan("where", (1, 1, 1), (32, 1, 1), 0, ("x", "out", 64)), n=64)
    assert runner.run(plan, library, draw(64), offset=offset).outputs["out"][:2].tolist() == [offset, offset]


@pytest.mark.parametrize("offset", [-16, 8, 256])
def test_impossible_offsets_are_refused(runner: EmulatorRunner, library: str, offset: int) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        runner.run(saxpy(8), library, draw(8), offset=offset)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("past_end", "out: 12 bytes overwritten past its end, from byte 0 to byte 11 behind it"),
        ("before_start", "out: 8 bytes overwritten before its start, 1 to 8 bytes ahead of it"),
        ("changes_input", "x: input changed in 4 bytes, first at [5]: "),
    ],
)
def test_violations_say_what_and_where(runner: EmulatorRunner, library: str, entry: str, text: str) -> None:
    (violation,) = runner.run(saxpy(1000, entry), library, draw(1000)).violations
    assert text in violation
    assert runner.run(saxpy(1000), library, draw(1000)).violations == ()


def test_unwritten_outputs_and_scratch_are_nan(runner: EmulatorRunner, library: str) -> None:
    runner.run(saxpy(1000), library, draw(1000))  # fills the memory with finite values first
    out = runner.run(saxpy(1000, "half_done"), library, draw(1000)).outputs["out"]
    assert np.isfinite(out[:500]).all()
    assert (out[500:].view(np.uint32) == 0xFFFFFFFF).all()
    reads = LaunchPlan("saxpy", (16, 1, 1), (64, 1, 1), 0, ("scratch", "y", "out", 3.0, 1000))
    assert np.isnan(runner.run(plan_of(reads, n=1000, scratch=True), library, draw(1000)).outputs["out"]).all()


def test_launches_run_in_order(runner: EmulatorRunner, library: str) -> None:
    n = 500
    first = LaunchPlan("through_scratch", (8, 1, 1), (64, 1, 1), 0, ("x", "scratch", n))
    second = LaunchPlan("saxpy", (8, 1, 1), (64, 1, 1), 0, ("scratch", "y", "out", 2.0, n))
    inputs = draw(n)
    done = runner.run(plan_of(first, second, n=n, scratch=True), library, inputs)
    np.testing.assert_allclose(done.outputs["out"], 2 * inputs["x"] + inputs["y"], rtol=1e-6, atol=1e-6)


def test_scalars_take_the_type_that_the_kernel_declares(runner: EmulatorRunner, library: str) -> None:
    inputs = draw(64)
    plan = plan_of(LaunchPlan("scaled", (1, 1, 1), (64, 1, 1), 0, ("x", "out", 5 << 32, 64)), n=64)
    np.testing.assert_array_equal(runner.run(plan, library, inputs).outputs["out"], 5 * inputs["x"])


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("x", "y", "out", 3.0), "takes 5 arguments, 4 are planned"),
        (("x", "y", "out", 3.0, 1 << 40), "takes 32 bits where"),
        ((1, "y", "out", 3.0, 8), "pointer"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(runner: EmulatorRunner, library: str, args: tuple, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        runner.run(plan_of(LaunchPlan("saxpy", (1, 1, 1), (64, 1, 1), 0, args), n=8), library, draw(8))


def test_inputs_that_do_not_fit_are_refused(runner: EmulatorRunner, library: str) -> None:
    good = draw(8)
    for bad in ({"x": good["x"]}, good | {"x": good["x"][:4]}, good | {"x": good["x"].astype(np.float64)}):
        with pytest.raises(ValueError, match="input"):
            runner.run(saxpy(8), library, bad)


def test_a_deadlock_is_a_fault_and_the_runner_stays_usable(runner: EmulatorRunner, library: str) -> None:
    with pytest.raises(KernelFault) as caught:
        runner.run(saxpy(64, "hangs"), library, draw(64))
    assert caught.value.message.startswith("hangs")
    assert not caught.value.poisoned
    assert runner.run(saxpy(64), library, draw(64)).violations == ()


def test_a_wild_write_costs_the_process_not_the_run(library: str) -> None:
    with Worker("emulator") as worker:
        with pytest.raises(WorkerCrashed, match="SIGSEGV"):
            worker.call(run_saxpy, (saxpy(8, "wild"), library, 8), timeout=20)
        assert worker.call(run_saxpy, (saxpy(8), library, 8), timeout=20).violations == ()


@pytest.mark.parametrize(
    ("entry", "kind", "text"),
    [
        ("past_end", "bounds", "thread (37, 0, 0): writes 4 bytes, 0 bytes past the end of `out` (4,000 bytes, as"),
        ("before_start", "bounds", "thread (0, 0, 0): writes 4 bytes, 8 bytes before the start of `out` (4,000 bytes,"),
        ("changes_input", "read-only", "thread (5, 0, 0): writes 4 bytes at element 5 of `x`, an input (saxpy.cu:7)"),
        ("wild", "bounds", "in no buffer"),
        ("hangs", "deadlock", "no thread of the block can go on"),
    ],
)
def test_a_sanitized_kernel_is_stopped_where_it_goes_wrong(
    runner: EmulatorRunner, sanitized: str, entry: str, kind: str, text: str
) -> None:
    with pytest.raises(KernelFault) as caught:
        runner.run(saxpy(1000, entry), sanitized, draw(1000))
    assert caught.value.kind == kind
    assert text in caught.value.message
    assert not caught.value.poisoned


@pytest.mark.parametrize("offset", [0, 16, 240])
@pytest.mark.parametrize("n", [1, 63, 64, 1000])
def test_a_sanitized_kernel_computes_the_same(
    runner: EmulatorRunner, library: str, sanitized: str, n: int, offset: int
) -> None:
    first = LaunchPlan("through_scratch", (-(-n // 64), 1, 1), (64, 1, 1), 0, ("x", "scratch", n))
    second = LaunchPlan("saxpy", (-(-n // 64), 1, 1), (64, 1, 1), 0, ("scratch", "y", "out", 2.0, n))
    plan = plan_of(first, second, n=n, scratch=True)
    results = [runner.run(plan, path, draw(n), schedule=3, offset=offset) for path in (library, sanitized)]
    np.testing.assert_array_equal(results[0].outputs["out"], results[1].outputs["out"])
    assert results[1].violations == ()


def test_scratch_of_an_earlier_run_was_not_written(runner: EmulatorRunner, sanitized: str) -> None:
    first = LaunchPlan("through_scratch", (16, 1, 1), (64, 1, 1), 0, ("x", "scratch", 1000))
    reads = LaunchPlan("saxpy", (16, 1, 1), (64, 1, 1), 0, ("scratch", "y", "out", 3.0, 1000))
    runner.run(plan_of(first, reads, n=1000, scratch=True), sanitized, draw(1000))
    with pytest.raises(KernelFault, match="element 0 of `scratch`, which nothing has written") as caught:
        runner.run(plan_of(reads, n=1000, scratch=True), sanitized, draw(1000))
    assert caught.value.kind == "uninitialised"


def test_many_modules_are_kept(library: str, tmp_path: Path) -> None:
    runner = EmulatorRunner()
    paths = []
    for number in range(STACKS + 3):
        path = tmp_path / f"{number}.so"
        path.write_bytes(Path(library).read_bytes())
        paths.append(str(path))
    for path in paths * 2:
        assert runner.run(saxpy(8), path, draw(8)).violations == ()


def test_memory_is_reused_and_the_checks_cost_little(library: str) -> None:
    runner = EmulatorRunner()
    inputs = draw(64)
    runner.run(saxpy(64), library, inputs)
    base = runner._memory.ctypes.data
    seconds = []
    for _ in range(50):
        start = time.perf_counter()
        runner.run(saxpy(64), library, inputs)
        seconds.append(time.perf_counter() - start)
    assert runner._memory.ctypes.data == base
    assert sorted(seconds)[10] < 2e-3
    assert GUARD >= 256
