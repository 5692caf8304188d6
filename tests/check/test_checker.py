"""A kernel file whose tolerance lets a wrong kernel through ends the run with status 2, and says what would not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from specforge.check.checker import LESSER, examine
from specforge.expressions import Scalar
from specforge.roots import shipped
from specforge.spec.facts import load_device
from specforge.spec.geometry import Plan
from specforge.spec.interface import find_kernel
from specforge.verify.example import Example, plan_example
from specforge.verify.trial import time_reference

DEVICE = load_device(shipped() / "specs" / "devices" / "rtx5090.yaml").names
SPEC = """\
specforge: 1
spec: sums
device: devices/rtx4090.yaml
benchmarks:
  sums:
    kernel: demo/sums
    bind: {dtype: f32, rows: 3}
    matrix: {columns: [256]}
    targets:
      - {metric: spill_bytes, equals: 0}
"""
KERNEL = """\
specforge: 1
kernel: sums
summary: The sum of each row.
template: kernel.cu.j2
reference: reference.py
parameters:
  rows:    {type: int, bind: launch, domain: "1..64"}
  columns: {type: int, bind: launch, domain: "1..65536"}
  dtype:   {type: dtype, bind: compile, domain: [f32, bf16]}
tensors:
  x: {shape: [rows, columns], dtype: dtype, role: in}
  y: {shape: [rows], dtype: f32, role: out, rows: [0]}
launches:
  - {entry: sums, grid: [rows], block: [1], args: [x, y, columns]}
work: {bytes: "rows * columns * sizeof(dtype)", flops: "rows * columns"}
emulation: {steps: "8 * rows * columns"}
tolerance:
  y: {conditioned: "FORMULA * roundoff(f32)"}
"""
TEMPLATE = """\
#include "specforge.cuh"
typedef {{ dtype | ctype }} T;
extern "C" __global__ void __launch_bounds__(1)
sums(const T* __restrict__ x, float* __restrict__ y, int columns) {
  float sum = 0.0f;
  for (int i = 0; i < columns; ++i) sum += static_cast<float>(x[(long long)blockIdx.x * columns + i]);
  y[blockIdx.x] = sum;
}
"""
REFERENCE = """\
import numpy as np


def reference(*, x):
    return {"y": x.sum(axis=1), "y_magnitude": np.abs(x).sum(axis=1)}
"""


@pytest.fixture
def check(home: Path, specforge: Callable) -> Callable:
    """Run the kernel of sums with a formula as the coefficient of its tolerance."""

    def run(formula: str, *arguments: str):
        folder = home / "kernels" / "demo" / "sums"
        folder.mkdir(parents=True)
        (home / "specs").mkdir()
        (home / "specs" / "sums.yaml").write_text(SPEC)
        (folder / "kernel.yaml").write_text(KERNEL.replace("FORMULA", formula))
        (folder / "kernel.cu.j2").write_text(TEMPLATE)
        (folder / "reference.py").write_text(REFERENCE)
        return specforge("check", "specs/sums.yaml", "--until", "verify", "--examples", "20", *arguments)

    return run


def test_a_tolerance_that_counts_roundings_stands(check: Callable) -> None:
    # A sum of n terms one after another errs by up to n roundings of the magnitude, and by about their root.
    ended = check("(8 + 4 * sqrt(columns))")
    assert ended.status == 0, ended.errors


def test_a_tolerance_that_grows_too_fast_is_found_at_length(check: Callable) -> None:
    ended = check("(8 + columns * columns / 4096)")
    assert ended.status == 2
    assert "kernel.yaml:18:6: error SF509: the tolerance of 'y' lets this pass: sums over columns=" in ended.errors
    at = int(re.search(r"sums over columns=([\d,]+) held", ended.errors)[1].replace(",", ""))
    assert at > 256, "at the spec's own size it is tight"
    assert re.search(r"y\[rows=\d\] \S+ for \S+, \S+ allowed", ended.errors)
    assert re.search(r"`conditioned` below \S+, where it is \S+ for this case", ended.errors)
    assert f"columns: {at}" in ended.errors


def test_the_tolerance_that_it_names_rejects_it(check: Callable) -> None:
    """At the spec's own size: the number in the hint, put into the file, is enough."""
    ended = check("(2 ** 20)")
    assert ended.status == 2
    assert "16 of columns=256 left out" in ended.errors
    assert "held in bf16" in ended.errors
    needed = [float(found) for found in re.findall(r"`conditioned` below (\S+),", ended.errors)]
    Path("kernels/demo/sums/kernel.yaml").write_text(
        KERNEL.replace("FORMULA * roundoff(f32)", f"{min(needed) * 0.99:.3g}")
    )
    from click.testing import CliRunner

    from specforge.cli import main

    again = CliRunner().invoke(main, ["check", "specs/sums.yaml", "--until", "verify", "--examples", "20"])
    assert "columns: 256, dtype: f32" not in again.stderr


def test_a_tolerance_below_the_outputs_own_rounding_is_named(check: Callable) -> None:
    ended = check("2 ** -20")
    assert ended.status == 2
    assert "rejects the rounded reference itself" in ended.errors


@pytest.mark.parametrize(
    "formula",
    [
        "(2 ** 20)",
        "(8 + 4 * sqrt(columns) + 2 ** 20 * (4 - sizeof(dtype)))",
        "(8 + 4 * sqrt(columns) + 2 ** 40 * (columns // 65536))",
    ],
    ids=["least", "variant", "size"],
)
def test_cases_side_by_side_find_the_same(
    formula: str, check: Callable, specforge: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(ended) -> str:
        assert ended.status == 2
        return ended.errors[ended.errors.index("kernels/demo/sums/kernel.yaml:18:6: error SF509") :]

    alone = found(check(formula))
    monkeypatch.setenv("SPECFORGE_JOBS", "6")
    assert found(specforge("check", "specs/sums.yaml", "--until", "verify", "--examples", "20")) == alone


@dataclass
class Noting:
    """Benches that note what would be tried, and try nothing; every reference takes too long for a larger case."""

    tried: list[Plan] = field(default_factory=list)
    device: Mapping[str, Scalar] = field(default_factory=lambda: DEVICE)
    seed: int = 0
    seconds: float = 120.0

    def lend(self) -> AbstractContextManager[Noting]:
        return nullcontext(self)

    def each(self, step: Callable, items: Sequence) -> Iterator:
        return map(step, items)

    def call(self, task: Callable, payload: Any) -> Any:
        if task is time_reference:
            return 100.0
        self.tried.append(payload.plan)
        return []


def test_a_large_case_is_tried_in_part_with_its_own_tolerances() -> None:
    """The output head alone: its weights in float64, several times over, are more than a machine may have."""
    kernel = find_kernel("gemm/quant_gemv", (shipped(),))
    head = {"rows": 248320, "columns": 2048, "tokens": 1, "dtype": "q6_k"}
    case = plan_example(kernel, Example(head), DEVICE)
    benches = Noting()
    assert examine(kernel, [case], [], benches)
    (least,) = benches.tried
    assert least.tolerances == case.tolerances
    assert {**least.parameters, "rows": 248320} == head
    assert LESSER / 2 < sum(buffer.nbytes for buffer in least.buffers if buffer.is_given) <= LESSER


def test_a_small_case_is_tried_as_it_is() -> None:
    kernel = find_kernel("gemm/quant_gemv", (shipped(),))
    small = {"rows": 512, "columns": 2048, "tokens": 1, "dtype": "q6_k"}
    benches = Noting()
    assert examine(kernel, [plan_example(kernel, Example(small), DEVICE)], [], benches)
    assert [case.parameters for case in benches.tried] == [small]


def test_explain_shows_the_formula_in_numbers(check: Callable, specforge: Callable) -> None:
    assert check("(8 + 4 * sqrt(columns))").status == 0
    for words in (("specs/sums.yaml", "sums[columns=256]"), ("demo/sums", "{rows: 3, columns: 256, dtype: f32}")):
        text = " ".join(specforge("explain", *words).text.split())
        assert "tolerance of y from kernels/demo/sums/kernel.yaml:18:3" in text
        assert "(8 + 4 * sqrt(columns)) * roundoff(f32) = (8 + 4 * 16) * 5.96e-08" in text
        assert "y: 16 of columns=256 left out: rejected," in text
        assert "y: rows permuted: rejected," in text
        assert "y: off by one: not applicable: it holds floating-point numbers" in text


def test_explain_says_how_ties_are_broken(specforge: Callable, copy: Path) -> None:
    text = specforge("explain", "moe/router_topk").text
    assert "every element equal; among equals the order is the reference's own" in text
    assert specforge("explain", "moe/router_topkk").status == 2
