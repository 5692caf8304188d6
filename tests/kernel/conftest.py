"""Small kernels in folders of their own."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from specforge.roots import shipped
from specforge.spec.interface import load_kernel

KERNEL_YAML = """\
specforge: 1
kernel: scale
summary: Multiplies by a constant.
template: kernel.cu.j2
reference: reference.py
parameters:
  count: {type: int, bind: launch, domain: "1..1024"}
  factor: {type: int, bind: compile, domain: [2, 3]}
  dtype: {type: dtype, bind: compile, domain: [f32, f16, bf16]}
tunables:
  threads: {bind: compile, domain: [32, 64, 128], default: 64}
tensors:
  x: {shape: [count], dtype: dtype, role: in}
  partial: {shape: [count], dtype: f32, role: scratch}
  y: {shape: [count], dtype: dtype, role: out}
launches:
  - {entry: multiply, grid: ["ceil_div(count, threads)"], block: [threads], args: [x, partial, count]}
  - {entry: narrow, grid: ["ceil_div(count, threads)"], block: [threads], args: [partial, y, count]}
work: {bytes: "2 * count * sizeof(dtype)", flops: count}
emulation: {steps: "2 * count"}
tolerance:
  y: {relative: "2 * roundoff(dtype)", conditioned: "roundoff(f32)"}
"""

TEMPLATE = """\
#include <cuda_bf16.h>
#include <cuda_fp16.h>
typedef {{ dtype | ctype }} T;
{# a comment
   of two lines #}
{% if factor > 2 %}
#define FACTOR 3.0f
{% else %}
#define FACTOR 2.0f
{% endif %}

extern "C" __global__ void __launch_bounds__({{ threads }}) multiply(
    const T* __restrict__ x, float* __restrict__ partial, int count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) partial[i] = float(x[i]) * FACTOR;
}

extern "C" __global__ void __launch_bounds__({{ threads }}) narrow(const float* partial, T* y, int count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = T(partial[i]);
}
"""

REFERENCE = """\
import numpy as np


def reference(*, x: np.ndarray, factor: int) -> dict[str, np.ndarray]:
    return {"y": x * factor, "y_magnitude": np.abs(x * factor)}
"""


@pytest.fixture
def make_kernel(tmp_path):
    """Write `kernels/math/scale` below a folder, with texts replaced, and load it."""

    def make(*, template=TEMPLATE, yaml=KERNEL_YAML, reference=REFERENCE, files=None, root=tmp_path, include=None):
        folder = Path(root) / "kernels" / "math" / "scale"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.yaml").write_text(yaml)
        (folder / "kernel.cu.j2").write_text(textwrap.dedent(template))
        (folder / "reference.py").write_text(textwrap.dedent(reference))
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        for name, text in (include or {}).items():
            (folder.parents[1] / "include").mkdir(exist_ok=True)
            (folder.parents[1] / "include" / name).write_text(text)
        return load_kernel(folder / "kernel.yaml", "math/scale", (Path(root), shipped()))

    return make


@pytest.fixture
def texts():
    """The default kernel's three files, to be edited."""
    return {"yaml": KERNEL_YAML, "template": TEMPLATE, "reference": REFERENCE}
