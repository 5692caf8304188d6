"""Answers worked out side by side, within the memory there is; what cannot be is said."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.worker import WorkerCrashed
from specforge.check.answers import Room, memory_of, settle_all
from specforge.check.jobs import Job
from specforge.measure.case import MeasureTask
from specforge.measure.measurement import Measurement
from specforge.measure.owed import Owed, Timed
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.verify.example import Example, ExampleResult


def job(folder: Path, reference: str, size: int, answers: Path | None = None) -> Job:
    path = folder / f"reference_{size}.py"
    path.write_text(reference)
    buffers = (
        BufferPlan("x", (size,), "f32", "in", ("normal",), "cold", ()),
        BufferPlan("out", (size,), "f32", "out", (), "cold", ()),
    )
    launch = LaunchPlan("f", (1, 1, 1), (32, 1, 1), 0, ("x", "out"))
    plan = Plan("k", str(path), {"n": size}, {}, buffers, (launch,), 16.0, 4.0, 4.0, {"out": Tolerance(False, 1e-5)})
    task = MeasureTask(plan, "none", "none", Example({"n": size}), None, answers=str(answers) if answers else None)
    return Job(f"case{size}", task, 1)


DOUBLE = "def reference(*, x):\n    return {'out': x * 2.0}\n"


KILLED = "import os\n\ndef reference(*, x):\n    os._exit(3)\n"


def owing(job: Job, factor: float) -> tuple[Job, Timed]:
    """A case whose launch left `factor` times what the one before it had given."""
    given = np.arange(1.0, 1 + job.task.plan.buffers[0].shape[0], dtype=np.float32)
    owed = Owed("overlapped", "the last link: ", {"x": given}, {"out": np.float32(factor) * given})
    return job, Timed(Measurement("card", "uuid", "0" * 64), ExampleResult("ok"), (owed,))


def test_what_is_owed_is_checked_with_what_was_given(tmp_path: Path) -> None:
    right, wrong = owing(job(tmp_path, DOUBLE, 3), 2.0), owing(job(tmp_path, DOUBLE, 4), 2.5)
    checks = settle_all([right, wrong], 2, lambda *_: None)
    first, second = (made[0] for made in checks)
    assert isinstance(first, ExampleResult)
    assert first.passed
    assert isinstance(second, ExampleResult)
    assert (second.failure or "").startswith("overlapped: the last link: out[0] is 2.5, the reference says 2")


def test_what_could_not_be_checked_is_tried_again_and_said(tmp_path: Path) -> None:
    once = tmp_path / "once"
    flaky = f"import os\nfrom pathlib import Path\n\ndef reference(*, x):\n    if not Path({str(once)!r}).exists():\n"
    flaky += f"        Path({str(once)!r}).touch()\n        os._exit(3)\n    return {{'out': x * 2.0}}\n"
    checks = settle_all([owing(job(tmp_path, flaky, 3), 2.0), owing(job(tmp_path, KILLED, 4), 2.0)], 1, lambda *_: None)
    assert isinstance(checks[0][0], ExampleResult)
    assert isinstance(checks[1][0], WorkerCrashed)


@pytest.mark.parametrize(
    ("shape", "dtype", "numbers"),
    [((64, 256), "bf16", 64 * 256), ((64, 256), "q4_k", 64 * 256), ((4, 16, 256), "q4_k", 0)],
)
def test_an_answer_takes_its_inputs_as_numbers_too_but_of_a_stack(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, numbers: int
) -> None:
    given = BufferPlan("x", shape, dtype, "in", ("normal",), "cold", ())
    plan = replace(job(tmp_path, DOUBLE, 3).task.plan, buffers=(given,))
    assert memory_of(plan) == 5 * given.nbytes + 16 * numbers


def test_room_is_shared_and_never_overdrawn() -> None:
    room, most, now = Room(10), 0, 0
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
