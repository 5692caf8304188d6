"""References' answers on disk: computed once, the same for every process that asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.emulated import EmulatorRunner
from specforge.diagnostics import SpecForgeError
from specforge.measure.answers import answer, fresh_values
from specforge.measure.case import MeasureTask, work_ahead
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.verify.example import Example, draw_inputs

REFERENCE = """\
from pathlib import Path
import numpy as np

def reference(*, x):
    with Path(__file__).with_name("calls").open("a") as file:
        file.write("x")
    return {"out": x * 2.0, "best": x.argmax(keepdims=True).astype(np.int64)}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "reference.py").write_text(REFERENCE)
    buffers = (
        BufferPlan("x", (4,), "f32", "in", ("normal",), "cold", ()),
        BufferPlan("out", (4,), "f32", "out", (), "cold", ()),
        BufferPlan("best", (1,), "i32", "out", (), "cold", ()),
    )
    launch = LaunchPlan("f", (1, 1, 1), (32, 1, 1), 0, ("x", "out", "best"))
    tolerance = {"out": Tolerance(False, relative=1e-5), "best": Tolerance(True)}
    return Plan("k", str(tmp_path / "reference.py"), {"n": 4}, {}, buffers, (launch,), 16.0, 4.0, 4.0, tolerance)


def calls(plan: Plan) -> int:
    path = Path(plan.reference).with_name("calls")
    return len(path.read_text()) if path.exists() else 0


FIRST = Example({"n": 4})
INPUTS = {"x": np.array([1, 4, 2, 3], np.float32)}


def test_computed_once_and_read_afterwards(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    first = answer(plan, FIRST, str(folder), INPUTS)
    again = answer(plan, FIRST, str(folder), INPUTS)
    assert calls(plan) == 1
    assert first.keys() == again.keys() == {"out", "best"}
    for name, array in first.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array)
    assert [path.suffix for path in folder.iterdir()] == [".npz"]


def test_other_values_have_another_answer(plan: Plan, tmp_path: Path) -> None:
    answer(plan, FIRST, str(tmp_path), INPUTS)
    answer(plan, replace(FIRST, seed=1), str(tmp_path), INPUTS)
    answer(replace(plan, parameters={"n": 5}), FIRST, str(tmp_path), INPUTS)
    assert calls(plan) == 3


def test_worked_ahead_as_measuring_asks(plan: Plan, tmp_path: Path) -> None:
    buffers = tuple(replace(one, residency="hot") if one.name == "x" else one for one in plan.buffers)
    plan = replace(plan, buffers=buffers)
    folder = tmp_path / "answers"
    folder.mkdir()
    task = MeasureTask(plan, "none", "none", FIRST, None, answers=str(folder))
    assert task.recall(draw_inputs(plan, FIRST)) is None
    for fresh in (False, True):
        work_ahead(EmulatorRunner(), (task, fresh))
    assert calls(plan) == 2
    inputs = draw_inputs(plan, FIRST)
    changed = fresh_values(plan, FIRST)
    assert not np.array_equal(changed["x"], inputs["x"])
    first, second = task.recall(inputs), answer(plan, FIRST, str(folder), changed)
    assert calls(plan) == 2
    assert first is not None
    np.testing.assert_array_equal(first["out"], inputs["x"] * 2.0)
    np.testing.assert_array_equal(second["out"], changed["x"] * 2.0)


def test_a_large_one_is_computed_every_time(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specforge.measure.answers.KEPT_BYTES", 8 * 5 - 1)
    folder = tmp_path / "answers"
    folder.mkdir()
    answer(plan, FIRST, str(folder), INPUTS)
    answer(plan, FIRST, str(folder), INPUTS)
    assert (calls(plan), list(folder.iterdir())) == (2, [])


def test_without_a_folder_it_is_computed_every_time(plan: Plan) -> None:
    answer(plan, FIRST, None, INPUTS)
    answer(plan, FIRST, None, INPUTS)
    assert calls(plan) == 2


def test_a_reference_that_fails_leaves_nothing(plan: Plan, tmp_path: Path) -> None:
    Path(plan.reference).write_text("def reference(*, x):\n    raise ValueError('no')\n")
    folder = tmp_path / "answers"
    folder.mkdir()
    with pytest.raises(SpecForgeError, match="raised ValueError"):
        answer(plan, FIRST, str(folder), INPUTS)
    assert list(folder.iterdir()) == []
