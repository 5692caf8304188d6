"""Tensors that a kernel updates in place, whole commands on the emulator: what is right passes, planted faults show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SPEC = """\
specforge: 1
spec: s
device: devices/rtx4090.yaml
benchmarks:
  b: {{kernel: toy/{name}, bind: {bind}}}
"""
HEAD = """\
specforge: 1
kernel: {name}
summary: {name}.
template: kernel.cu.j2
reference: reference.py
"""
DECAY = """\
parameters:
  rows:  {type: int, bind: launch, domain: "1..12"}
  width: {type: int, bind: launch, domain: "1..200", edges: [64]}
tensors:
  x:     {shape: [rows, width], dtype: f32, role: in}
  state: {shape: [rows, width], dtype: f32, role: inout, residency: cold}
  total: {shape: [rows, width], dtype: f32, role: out}
launches:
  - {entry: decay, grid: [rows], block: ["64"], args: [x, state, total, width]}
work: {bytes: "16 * rows * width", flops: "3 * rows * width"}
emulation: {steps: "8 * rows * (width + 64)"}
tolerance:
  state: {relative: "roundoff(f32)", conditioned: "2 * roundoff(f32)"}
  total: {relative: "roundoff(f32)", conditioned: "3 * roundoff(f32)"}
"""
DECAY_REFERENCE = """\
import numpy as np


def reference(*, x, state):
    state *= 0.75
    new = state + x
    size = np.abs(state) + np.abs(x)
    return {"state": new, "state_magnitude": size, "total": new + x, "total_magnitude": size + np.abs(x)}
"""
DECAY_TEMPLATE = """\
#include "specforge.cuh"
// Row by row: state = 3/4 state + x, total = state + x.
extern "C" __global__ void decay(const float* __restrict__ x, float* __restrict__ state, float* __restrict__ total,
                                 int width) {
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    const long long at = (long long)blockIdx.x * width + i;
    const float now = 0.75f * state[at] + x[at];
    state[at] = now;
    total[at] = now + x[at];
  }
}
"""
APPEND = """\
parameters:
  rows:  {type: int, bind: launch, domain: "1..12"}
  slots: {type: int, bind: launch, domain: "4..40"}
  dim:   {type: int, bind: compile, domain: [32]}
tensors:
  x:     {shape: [rows, dim], dtype: f32, role: in}
  place: {shape: [rows], dtype: i32, role: in, values: tiny}
  cache: {shape: [rows, slots, dim], dtype: bf16, role: inout, residency: cold}
launches:
  - {entry: append, grid: [rows], block: [dim], args: [x, place, cache, slots]}
work: {bytes: "rows * dim * 6 + 4 * rows", flops: "0"}
emulation: {steps: "8 * rows * dim"}
tolerance:
  cache: {relative: "roundoff(bf16)"}
"""
APPEND_REFERENCE = """\
import numpy as np


def reference(*, x, place, cache):
    cache[np.arange(len(x)), 1 + place] = x
    return {"cache": cache}
"""
APPEND_TEMPLATE = """\
#include "specforge.cuh"
extern "C" __global__ void append(const float* __restrict__ x, const int* __restrict__ place,
                                  __nv_bfloat16* __restrict__ cache, int slots) {
  const int row = blockIdx.x, at = 1 + place[row];
  cache[((long long)row * slots + at) * {{ dim }} + threadIdx.x] = __float2bfloat16(x[row * {{ dim }} + threadIdx.x]);
}
"""
KERNELS = {
    "decay": (DECAY, DECAY_REFERENCE, DECAY_TEMPLATE, "{rows: 3, width: 100}"),
    "append": (APPEND, APPEND_REFERENCE, APPEND_TEMPLATE, "{rows: 3, slots: 8, dim: 32}"),
}
FAULTS = {
    ("decay", "forgets to write"): ("    state[at] = now;\n", "", "state["),
    ("decay", "forgets the tail"): ("    state[at] = now;", "    if (i < 64) state[at] = now;", "state["),
    ("decay", "writes a neighbour's row"): (
        "    state[at] = now;",
        "    state[at] = now;\n    if (blockIdx.x + 1 < gridDim.x && i == 0) state[at + width] = now;",
        "race",
    ),
    ("decay", "reads after writing"): (
        "    total[at] = now + x[at];",
        "    total[at] = 0.75f * state[at] + x[at] + x[at];",
        "total[",
    ),
    ("decay", "writes twice"): ("    state[at] = now;", "    state[at] = now;\n    state[at] += 0.001f;", "state["),
    ("decay", "writes past the end"): (
        "    state[at] = now;",
        "    state[at] = now;\n    state[at + 1] = now;",
        "state",
    ),
    ("append", "forgets to write"): ("  cache[(", "  if (row < 0) cache[(", "cache["),
    ("append", "writes a neighbour's slot"): ("at = 1 + place[row];", "at = 2 + place[row];", "cache["),
    ("append", "touches another slot"): (
        "  cache[(",
        "  cache[((long long)row * slots + 3) * {{ dim }} + threadIdx.x] = __float2bfloat16(0.0f);\n  cache[(",
        "cache[",
    ),
}


@pytest.fixture
def plant(home: Path) -> Callable[..., Path]:
    def write(name: str, **changed: tuple[str, str]) -> Path:
        kernel, reference, template, bind = KERNELS[name]
        texts = {"kernel.yaml": HEAD.format(name=name) + kernel, "reference.py": reference, "kernel.cu.j2": template}
        folder = home / "kernels" / "toy" / name
        folder.mkdir(parents=True)
        for file, (old, new) in changed.items():
            full = next(key for key in texts if key.partition(".")[0] == file or key.startswith(file))
            assert texts[full].count(old) == 1, old
            texts[full] = texts[full].replace(old, new)
        for file, text in texts.items():
            (folder / file).write_text(text)
        (home / "specs").mkdir()
        (home / "specs" / "s.yaml").write_text(SPEC.format(name=name, bind=bind))
        return folder

    return write


OPTIONS = ("check", "specs/s.yaml", "--until", "verify", "--examples", "60")


@pytest.mark.parametrize("sanitize", ["shadow", "address"])
@pytest.mark.parametrize("name", KERNELS)
def test_what_is_updated_in_place_is_verified(name: str, sanitize: str, plant: Callable, specforge: Callable) -> None:
    plant(name)
    ended = specforge(*OPTIONS, "--sanitize", sanitize)
    assert ended.status == 0, ended.text


@pytest.mark.parametrize(("name", "kind"), FAULTS, ids=lambda part: part.replace(" ", "-"))
def test_a_wrong_update_is_found(name: str, kind: str, plant: Callable, specforge: Callable) -> None:
    old, new, said = FAULTS[name, kind]
    plant(name, **{"kernel.cu": (old, new)})
    ended = specforge(*OPTIONS)
    assert ended.status == 3, ended.text
    assert said in ended.text


def test_values_alone_tell_too(plant: Callable, specforge: Callable) -> None:
    plant("decay", **{"kernel.cu": FAULTS["decay", "writes a neighbour's row"][:2]})
    assert specforge(*OPTIONS, "--sanitize", "off").status == 3


def test_a_tolerance_that_lets_the_old_content_pass_is_refused(plant: Callable, specforge: Callable) -> None:
    plant("decay", **{"kernel.yaml": ('  state: {relative: "roundoff(f32)"', '  state: {absolute: "8.0"')})
    ended = specforge(*OPTIONS)
    assert ended.status == 2
    assert "SF509" in ended.errors
    assert "a stale output" in ended.errors
    assert "an unwritten tail" in ended.errors


def test_one_that_no_launch_may_write_is_refused(plant: Callable, specforge: Callable) -> None:
    plant("append", **{"kernel.cu": ("__nv_bfloat16* __restrict__ cache", "const __nv_bfloat16* __restrict__ cache")})
    ended = specforge(*OPTIONS)
    assert ended.status == 2
    assert "const in every launch" in ended.errors
