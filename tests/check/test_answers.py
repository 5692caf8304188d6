"""Answers worked out ahead of timing: all of them, within the memory there is; what cannot be is left."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from specforge.check.answers import _Room, answer_ahead
from specforge.check.jobs import Job
from specforge.diagnostics import SpecForgeError
from specforge.measure.case import MeasureTask
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.verify.example import Example


def job(folder: Path, reference: str, size: int) -> Job:
    path = folder / f"reference_{size}.py"
    path.write_text(reference)
    buffers = (
        BufferPlan("x", (size,), "f32", "in", ("normal",), "cold", ()),
        BufferPlan("out", (size,), "f32", "out", (), "cold", ()),
    )
    launch = LaunchPlan("f", (1, 1, 1), (32, 1, 1), 0, ("x", "out"))
    plan = Plan("k", str(path), {"n": size}, {}, buffers, (launch,), 16.0, 4.0, 4.0, {"out": Tolerance(False, 1e-5)})
    return Job(f"case{size}", MeasureTask(plan, "none", "none", Example({"n": size}), None), 1)


DOUBLE = "def reference(*, x):\n    return {'out': x * 2.0}\n"


def test_all_are_answered_and_counted(tmp_path: Path) -> None:
    answers, seen = tmp_path / "answers", list[int]()
    answers.mkdir()
    answer_ahead([job(tmp_path, DOUBLE, size) for size in (3, 4, 5)], str(answers), 2, seen.append)
    assert len(list(answers.glob("*.npz"))) == 3
    assert seen == [1, 2, 3]


def test_a_reference_that_raises_is_told(tmp_path: Path) -> None:
    jobs = [job(tmp_path, DOUBLE, 3), job(tmp_path, "def reference(*, x):\n    raise ValueError('no')\n", 4)]
    with pytest.raises(SpecForgeError, match="raised ValueError"):
        answer_ahead(jobs, str(tmp_path), 2, lambda _: None)


def test_what_ends_its_process_is_left_to_the_one_that_measures(tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    answers.mkdir()
    killed = "import os\n\ndef reference(*, x):\n    os._exit(3)\n"
    answer_ahead([job(tmp_path, killed, 4), job(tmp_path, DOUBLE, 3)], str(answers), 1, lambda _: None)
    assert len(list(answers.glob("*.npz"))) == 1


def test_room_is_shared_and_never_overdrawn() -> None:
    room, most, now = _Room(10), 0, 0
    lock = threading.Lock()

    def take(need: int) -> None:
        nonlocal most, now
        with room.taken(need):
            with lock:
                now += min(need, 10)
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= min(need, 10)

    threads = [threading.Thread(target=take, args=(need,)) for need in (4, 4, 4, 11, 4, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads), "who needs more than there is waits for ever"
    assert 8 <= most <= 10
