"""What timing left owed is settled before a round counts; what cannot be checked is trouble and no result."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from specforge.check.journal import Journal
from specforge.check.measurement import _Course
from specforge.measure.measurement import Measurement
from tests.check.test_answers import DOUBLE, KILLED, job, owing


def test_a_round_counts_when_it_is_settled(tmp_path: Path) -> None:
    right, wrong, lost = (job(tmp_path, text, size) for size, text in ((3, DOUBLE), (4, DOUBLE), (5, KILLED)))
    journal = Journal(None)
    course = _Course([right, wrong, lost], None, journal, SimpleNamespace(settings=SimpleNamespace(jobs=2)))  # type: ignore[arg-type]
    for one, factor in ((right, 2.0), (wrong, 2.5), (lost, 2.0)):
        course._owing.append((one, 0, owing(one, factor)[1]))
    course._settle()
    seen = {case: found for (case, _), found in journal.rounds.items() if isinstance(found, Measurement)}
    assert list(seen) == [right.case, wrong.case]
    assert [found.after.kind for found in seen.values() if found.after is not None] == ["ok", "wrong"]
    assert course.outcome(lost).trouble == "what was timed could not be checked: ended with exit status 3"
    course._settle()
    assert len(journal.rounds) == 2, "nothing is settled twice"
