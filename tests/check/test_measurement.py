"""What timing left owed is settled before a round counts; what cannot be checked is trouble and no result."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specforge.backend.runner import Runner
from specforge.check.ahead import Ahead
from specforge.check.handover import CardGone
from specforge.check.journal import Journal
from specforge.check.measurement import _Course
from specforge.check.peers import absent_peer
from specforge.diagnostics import Position, SpecForgeError
from specforge.measure.case import MeasureTask
from specforge.measure.measurement import Measurement
from specforge.measure.owed import Owed, Timed
from specforge.measure.series import Series
from specforge.measure.session import Session
from specforge.measure.stopping import Stop
from specforge.spec.peers import DeclaredPeer
from specforge.verify.example import ExampleResult
from tests.check.test_answers import DOUBLE, KILLED, job, owing

if TYPE_CHECKING:
    from collections.abc import Callable

    from specforge.check.jobs import Job


def time_with_debt(_: Runner, task: MeasureTask) -> Timed:
    """Stands for `time_case`: a right result that is still to be checked; of four elements the process ends."""
    size = int(task.plan.parameters["n"])
    if size == 4:
        os._exit(3)
    given = np.arange(size, dtype=np.float32)
    owed = Owed("overlapped", "the last link: ", {"x": given}, {"out": 2 * given})
    # As many groups as were asked for; a process that may choose takes one for each that its case has elements.
    chosen = Series("overlapped", task.groups.get("overlapped", size), (), 0, Stop("samples", None, 0.01))
    timed = Measurement("card", "uuid", "0" * 64, series={"overlapped": chosen}, notes=(str(dict(task.groups)),))
    return Timed(timed, ExampleResult("ok"), (owed,))


SILENT = SimpleNamespace(stage=lambda *_: None, advance=lambda *_: None)


class Ordered(Journal):
    """A journal that says in which order it was written."""

    def __init__(self) -> None:
        super().__init__(None)
        self.session = Session()
        self.order: list[str] = []

    def add_round(self, case: str, number: int, found: Any) -> None:
        self.order.append(f"{case} round {number}")
        super().add_round(case, number, found)

    def add_peers(self, case: str, number: int, found: Any) -> None:
        self.order.append(f"{case} peers {number}")
        super().add_peers(case, number, found)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ordered]:
    """Run jobs with a card that is there for so many processes."""
    monkeypatch.setattr("specforge.check.measurement.time_case", time_with_debt)
    monkeypatch.setattr(_Course, "_peers", lambda *_: {})

    def measure(jobs: list[Job], *, starts: int = 9) -> Ordered:
        left = [None] * starts

        def there(*_: object) -> None:
            if not left:
                raise CardGone("the card is gone")
            left.pop()

        card = SimpleNamespace(uuid="GPU", wait_for_others=there, clocks_fault=lambda *_: None)
        journal = Ordered()
        choice = SimpleNamespace(runner="emulator", name="card")
        try:
            with Ahead(2) as ahead:
                context = SimpleNamespace(settings=SimpleNamespace(jobs=2), progress=SILENT)
                _Course(jobs, choice, journal, context).run(card, ahead, "spec")  # type: ignore[arg-type]
        except (CardGone, SpecForgeError) as ended:
            journal.order.append(type(ended).__name__)
        return journal

    return measure


def test_a_round_is_settled_before_its_peers_are_timed(tmp_path: Path, run: Callable[..., Ordered]) -> None:
    peers = (DeclaredPeer("torch", "first", Position(Path("peers.py"))),)
    journal = run([replace(job(tmp_path, DOUBLE, 3), processes=2, peers=peers, peer_rounds=2)])
    assert journal.order == ["case3 round 0", "case3 peers 0", "case3 round 1", "case3 peers 1"]
    assert all(found.after.kind == "ok" for found in journal.rounds.values() if isinstance(found, Measurement))


def test_peers_are_timed_in_the_first_rounds_alone(tmp_path: Path, run: Callable[..., Ordered]) -> None:
    peers = (DeclaredPeer("torch", "first", Position(Path("peers.py"))),)
    timed = replace(job(tmp_path, DOUBLE, 3), processes=3, peers=peers, peer_rounds=1)
    journal = run([timed])
    assert journal.order == ["case3 round 0", "case3 peers 0", "case3 round 1", "case3 round 2"]
    course = _Course([timed], None, journal, None)  # type: ignore[arg-type]
    journal.peers["case3", 0] = {"torch": absent_peer(peers[0], "no")}
    course.end("the card is gone")
    assert course.outcome(timed).peers["torch"].absent == "no", "nothing of it was left to do"


def test_every_process_times_the_graph_that_the_first_one_chose(tmp_path: Path, run: Callable[..., Ordered]) -> None:
    journal = run([replace(job(tmp_path, DOUBLE, size), processes=3) for size in (3, 5)])
    asked = {key: found.notes[0] for key, found in journal.rounds.items() if isinstance(found, Measurement)}
    for size in (3, 5):
        assert [asked[f"case{size}", number] for number in range(3)] == ["{}", *[f"{{'overlapped': {size}}}"] * 2]


def test_what_was_timed_counts_where_the_card_goes(tmp_path: Path, run: Callable[..., Ordered]) -> None:
    journal = run([job(tmp_path, DOUBLE, size) for size in (3, 4, 5)], starts=1)
    assert journal.order == ["case4 round 0", "case3 round 0", "CardGone"]


def test_what_was_timed_counts_where_another_reference_is_wrong(tmp_path: Path, run: Callable[..., Ordered]) -> None:
    wrong = "def reference(*, x):\n    raise ValueError('no')\n"
    journal = run([job(tmp_path, wrong, 3), job(tmp_path, DOUBLE, 5)])
    assert journal.order == ["case5 round 0", "SpecForgeError"]


def test_a_round_counts_when_it_is_settled(tmp_path: Path) -> None:
    right, wrong, lost = (job(tmp_path, text, size) for size, text in ((3, DOUBLE), (4, DOUBLE), (5, KILLED)))
    journal = Journal(None)
    course = _Course(
        [right, wrong, lost], None, journal, SimpleNamespace(settings=SimpleNamespace(jobs=2), progress=SILENT)
    )  # type: ignore[arg-type]
    for one, factor in ((right, 2.0), (wrong, 2.5), (lost, 2.0)):
        course._owing.append((one, 0, owing(one, factor)[1]))
    course._settle()
    seen = {case: found for (case, _), found in journal.rounds.items() if isinstance(found, Measurement)}
    assert list(seen) == [right.case, wrong.case]
    assert [found.after.kind for found in seen.values() if found.after is not None] == ["ok", "wrong"]
    assert str(course.outcome(lost).trouble).startswith("what was timed could not be checked: ")
    assert "exit status 3" in str(course.outcome(lost).trouble)
    course._settle()
    assert len(journal.rounds) == 2, "nothing is settled twice"
