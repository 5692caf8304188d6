"""The sanitizer of local arrays: running over one is found; the other faults are found as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from specforge.backend.emulator.module import EmulationFault
from tests.backend.emulator.sanitize_kernels import FAULTY, RIGHT, SCHEDULES, lines_of, run, source_of

LOCAL = """
__device__ __attribute__((noinline)) float* at(float* array, int index) { return array + index; }
extern "C" __global__ void arrays(const float* x, float* y, int* z, int n) {
  float own[6], other[8];
  for (int i = 0; i < 6; ++i) *at(own, i) = x[i];
  for (int i = 0; i < 8; ++i) *at(other, i) = x[i];
  if (threadIdx.x == 5) *at(own, n %s) = 1;  // here
  __syncthreads();
  y[threadIdx.x] = own[threadIdx.x & 3] + other[threadIdx.x & 7];
}
"""


@pytest.mark.parametrize("sanitize", ["address"], indirect=True, scope="session")
class TestLocalArrays:
    @pytest.mark.parametrize(
        ("index", "text"),
        [
            ("- 58", "writes 4 bytes, 0 bytes past the end of local `own` (24 bytes)"),
            ("- 65", "writes 4 bytes, 4 bytes before the start of local `own` (24 bytes)"),
        ],
    )
    def test_running_over_one_is_found(self, build: Callable[..., Any], index: str, text: str) -> None:
        source = LOCAL % index
        module = build(source, ["arrays"]).module
        for _ in range(2):  # a launch that ended in a fault leaves no trace
            with pytest.raises(EmulationFault) as found:
                run(module, ["arrays"], 0)
            assert found.value.kind == "bounds"
            assert found.value.thread == (5, 0, 0)
            (line,) = lines_of("arrays", source, "here")
            assert found.value.message == f"{text} (kernel.cu.j2:{line})"

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_what_is_right_raises_no_alarm(self, build: Callable[..., Any], schedule: int) -> None:
        module = build(source_of(RIGHT) + LOCAL % "- 59", [*RIGHT, "arrays"]).module
        assert module.sanitize == "address"
        for name in [*RIGHT, "arrays"]:
            run(module, [name], schedule)

    @pytest.mark.parametrize("name", ["past_end", "into_the_next_array", "writes_input", "wide_shift"])
    def test_the_rest_is_found_too(self, build: Callable[..., Any], name: str) -> None:
        kind, text, body = FAULTY[name]
        module = build(source_of({name: body}), [name]).module
        with pytest.raises(EmulationFault) as found:
            run(module, [name], 0)
        assert found.value.kind == kind
        assert text in found.value.message
