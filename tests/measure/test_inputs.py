"""Large inputs kept for other processes: the same as drawn, shared by cases, and never the last of a disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from specforge.measure.inputs import LEAST_BYTES, inputs_of
from specforge.spec.bounds import Bounds
from specforge.spec.geometry import BufferPlan, Plan
from specforge.verify.example import Example, draw_inputs

ROWS = LEAST_BYTES // 4


def plan(*buffers: BufferPlan) -> Plan:
    return Plan("k", "reference.py", {}, {}, buffers, (), 1.0, 1.0, 1.0, {})


def tensor(name: str, *shape: int, label: str = "normal", **more: object) -> BufferPlan:
    return BufferPlan(name, shape, "f32", "in", (label,), "cold", (), **more)  # type: ignore[arg-type]


def same(folder: Path, case: Plan, example: Example) -> None:
    found, drawn = inputs_of(case, example, str(folder)), draw_inputs(case, example)
    assert list(found) == list(drawn)
    for name, array in drawn.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_large_ones_are_kept_and_shared(tmp_path: Path) -> None:
    case = plan(tensor("x", 2, ROWS), tensor("small", ROWS - 1))
    for _ in range(2):
        same(tmp_path, case, Example({}))
        assert len(list(tmp_path.iterdir())) == 1
    same(tmp_path, plan(tensor("x", 2, ROWS), tensor("y", ROWS)), Example({"n": 3}))
    assert len(list(tmp_path.iterdir())) == 2


def test_what_draws_otherwise_is_another_file(tmp_path: Path) -> None:
    cases = [
        (plan(tensor("x", ROWS)), Example({})),
        (plan(tensor("y", ROWS)), Example({})),
        (plan(tensor("x", ROWS)), Example({}, seed=1)),
        (plan(tensor("x", ROWS, 1)), Example({})),
        (plan(tensor("x", ROWS, label="wide")), Example({})),
        (plan(tensor("x", ROWS)), Example({}, values={"x": "spiky"})),
        (plan(tensor("x", ROWS, label="near", ranges={"near": Bounds("between", 0.5, 1.5)})), Example({})),
        (plan(tensor("x", ROWS, label="near", ranges={"near": Bounds("between", 0.5, 2.5)})), Example({})),
    ]
    for case, example in cases:
        same(tmp_path, case, example)
    assert len(list(tmp_path.iterdir())) == len(cases)


def test_they_cannot_be_written_to(tmp_path: Path) -> None:
    case = plan(tensor("x", ROWS))
    with pytest.raises(ValueError, match="read-only"):
        inputs_of(case, Example({}), str(tmp_path))["x"][0] = 1


def test_a_full_disk_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specforge.measure.inputs.LEFT_BYTES", 1 << 80)
    same(tmp_path, plan(tensor("x", ROWS)), Example({}))
    assert not list(tmp_path.iterdir())
