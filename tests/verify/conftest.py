"""A small kernel with an honest numpy implementation, standing in for a compiled one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.runner import Execution
from specforge.spec.geometry import Plan
from specforge.spec.interface import Kernel, load_kernel
from specforge.verify.reference import widen

KERNEL = """\
specforge: 1
kernel: blend
summary: Every row of x, weighted and shifted by the sum of the row.
template: kernel.cu.j2
reference: reference.py
parameters:
  rows:   {type: int, bind: launch, domain: "1..4096", edges: [32, 256]}
  width:  {type: int, bind: launch, domain: "1..65536", edges: [64]}
  dtype:  {type: dtype, bind: compile, domain: [f32, bf16, f16]}
  group:  {type: int, bind: compile, domain: [1, 2, 4]}
  signed: {type: bool, bind: compile, domain: [false, true]}
constraints:
  - {that: "rows % group == 0", reason: "rows come in groups"}
tunables:
  splits: {bind: launch, domain: "1..8", default: "clamp(width // 64, 1, 8)"}
  warps:  {bind: compile, domain: [4, 8], default: "4"}
tensors:
  x:     {shape: [rows, width], dtype: dtype, role: in, values: [normal, wide, ties, tiny], residency: cold}
  scale: {shape: [rows], dtype: f32, role: in, values: [normal, constant]}
  out:   {shape: [rows, width], dtype: dtype, role: out}
  best:  {shape: [rows], dtype: i32, role: out, rows: [0]}
launches:
  - {entry: blend, grid: [rows], block: ["32 * warps"], args: [x, scale, out, best, rows, width, splits]}
work: {bytes: "2 * rows * width * sizeof(dtype)", flops: "2 * rows * width"}
emulation: {steps: "4 * rows * width + 64 * splits"}
tolerance:
  out: {relative: "2 * roundoff(dtype)", conditioned: "(width + 4) * roundoff(f32)", absolute: "2 ** -24"}
  best: exact
"""

REFERENCE = '''\
"""Blend in float64."""

import numpy as np


def reference(*, x, scale, signed):
    sign = -1.0 if signed else 1.0
    total = x.sum(axis=1, keepdims=True) / x.shape[1]
    out = sign * scale[:, None] * x + total
    size = np.abs(x).sum(axis=1, keepdims=True) / x.shape[1]
    return {"out": out, "out_magnitude": np.abs(scale[:, None] * x) + size, "best": x.argmax(axis=1)}
'''


@pytest.fixture
def blend(tmp_path: Path) -> Kernel:
    return write_kernel(tmp_path, KERNEL, REFERENCE)


@pytest.fixture
def make_kernel(tmp_path: Path) -> Callable[[str, str], Kernel]:
    return lambda kernel, reference: write_kernel(tmp_path, kernel, reference)


def write_kernel(root: Path, kernel: str, reference: str) -> Kernel:
    folder = root / "kernels" / "toy" / "blend"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.yaml").write_text(kernel)
    (folder / "reference.py").write_text(reference)
    (folder / "kernel.cu.j2").write_text("// not compiled in these tests\n")
    return load_kernel(folder / "kernel.yaml", "toy/blend", (root,))


@dataclasses.dataclass
class BlendRunner:
    """The blend kernel in float32 numpy; `fault` damages its outputs as a wrong kernel would."""

    name: str = "numpy"
    fault: Callable[[Plan, dict[str, np.ndarray], int], tuple[str, ...] | None] | None = None
    runs: int = 0

    def run(
        self, plan: Plan, binary: str, inputs: Mapping[str, np.ndarray], *, schedule: int = 0, offset: int = 0
    ) -> Execution:
        self.runs += 1
        x = widen(inputs["x"]).astype(np.float32)
        total = x.sum(axis=1, keepdims=True, dtype=np.float32) / np.float32(x.shape[1])
        sign = np.float32(-1.0 if plan.parameters["signed"] else 1.0)
        out = (sign * inputs["scale"][:, None] * x + total).astype(plan.buffer("out").element.numpy())
        outputs = {"out": out, "best": x.argmax(axis=1).astype(np.int32)}
        violations = (self.fault(plan, outputs, schedule) if self.fault else None) or ()
        return Execution(outputs, violations)


class InProcess:
    """A worker without a process."""

    def __init__(self, runner: object) -> None:
        self.runner = runner

    def call(self, task, payload, *, timeout):
        assert timeout > 0
        return task(self.runner, payload)

    def restart(self):
        """Nothing to end."""


@pytest.fixture
def blend_runner() -> type[BlendRunner]:
    return BlendRunner


@pytest.fixture
def in_process() -> type[InProcess]:
    return InProcess
