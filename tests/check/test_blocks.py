"""Quantised weights through a whole command: a right kernel passes, a wrong one is found and its row replays."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from specforge.spec.interface import load_kernel
from specforge.verify.example import Example, draw_inputs, plan_example
from specforge.verify.reduction import gaps
from specforge.verify.reference import read

ROOT = Path(__file__).parents[2]
GEMV = "kernels/quantised/gemv"
SPEC = """\
specforge: 1
spec: demo
device: devices/rtx4090.yaml
benchmarks:
  gemv:
    kernel: quantised/gemv
    bind: {rows: 33, width: 512}
    matrix: {weight: [q4_k, q8_0]}
    targets:
      - {metric: spill_bytes, equals: 0}
"""
FAULTS = {
    "the minimum is ignored": ("- dmin * least", ""),
    "another scale": ("packed[part + 4] & 15", "packed[part + 3] & 15"),
    "the scale's upper bits are lost": ("| packed[high] >> 6 << 4", ""),
    "the nibbles are swapped": ("part % 2 ? pair >> 4", "part % 2 == 0 ? pair >> 4"),
    "a block too small": ("block += 34", "block += 32"),
    "read past the end": ("k += 256, block", "k += 255, block"),
}


@pytest.fixture
def gemv(home: Path) -> Path:
    """A folder with the spec and the kernel; its template."""
    shutil.copytree(ROOT / "tests" / "check" / "blocks" / "kernels", home / "kernels")
    shutil.copytree(ROOT / "specs" / "devices", home / "specs" / "devices")
    (home / "specs" / "demo.yaml").write_text(SPEC)
    return home / GEMV / "kernel.cu.j2"


CHECK = ("check", "specs/demo.yaml", "--until", "verify", "--backend", "emulator", "--examples", "40")


def test_a_right_kernel_passes_and_the_checker_is_checked(gemv: Path, specforge: Callable[..., object]) -> None:
    ended = specforge(*CHECK)
    assert ended.status == 0, ended.text + ended.errors
    told = specforge("explain", "specs/demo.yaml", "gemv[weight=q4_k]")
    assert told.status == 0, told.text + told.errors
    assert "in w: q4_k [33, 512], 9504 B, cold" in told.text
    assert "out: 256 of width=512 left out: rejected" in told.text
    assert "out: sums over width=512 held in bf16: rejected" in told.text


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_kernel_is_found(fault: str, gemv: Path, specforge: Callable[..., object]) -> None:
    right, wrong = FAULTS[fault]
    text = gemv.read_text()
    assert text.count(right) == 1
    gemv.write_text(text.replace(right, wrong))
    ended = specforge(*CHECK)
    assert ended.status == 3, ended.text + ended.errors
    found = re.search(r"specforge (check .*--case .*)", ended.text)
    assert found, ended.text
    again = specforge(*shlex.split(found[1]))
    assert again.status == 3, again.text + again.errors


@pytest.mark.parametrize("told", ["{granule: 256}", "{granule: 32, axes: {w: 1, x: 0}}", "{parts: 64}"])
def test_a_part_that_is_left_out_is_of_whole_blocks(told: str, gemv: Path) -> None:
    yaml = gemv.parent / "kernel.yaml"
    yaml.write_text(yaml.read_text().replace("{granule: 256}", told))
    kernel = load_kernel(yaml, "quantised/gemv", (gemv.parents[3], ROOT))
    example = Example({"rows": 5, "width": 2048, "weight": "q4_k"})
    case = plan_example(kernel, example, {})
    inputs = draw_inputs(case, example)
    (found,) = gaps(kernel, case)
    for gap in found:
        assert gap.length % 256 == gap.granule % 256 == 0
        shorter = gap.leave_out(inputs, gap.starts()[1])
        kept = np.delete(np.arange(2048), slice(gap.starts()[1], gap.starts()[1] + gap.length))
        whole, less = (read(plan.buffer("w"), given["w"]) for plan, given in ((case, inputs), (gap.plan, shorter)))
        np.testing.assert_array_equal(less, whole[:, kept])
        np.testing.assert_array_equal(shorter["x"], inputs["x"][kept])
