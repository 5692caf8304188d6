"""Tensors that are updated in place on a card: restored before each check, judged in the graph that was timed."""

from __future__ import annotations

import pytest

from specforge.backend.worker import Worker
from tests.gpu.engine.measuring import measured
from tests.gpu.engine.plans import decay_plan

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("residency", ["cold", "hot"])
def test_an_honest_update(worker: Worker, binary: str, references: dict[str, str], residency: str) -> None:
    seen = measured(worker, decay_plan("decay", references, residency), binary, ("isolated", "amortised"))
    assert seen.verified, seen.after
    assert set(seen.series) == {"isolated", "amortised"}
    assert seen.cold == ("hot" if residency == "hot" else "proven")
    assert (seen.copies["state"] > 1) == (residency == "cold")
    assert any("restored for each check after timing: state" in note for note in seen.notes)


@pytest.mark.parametrize("residency", ["cold", "hot"])
def test_an_update_that_ends_once_checked(
    worker: Worker, binary: str, references: dict[str, str], residency: str
) -> None:
    worker.restart()  # its counter begins with the process
    seen = measured(worker, decay_plan("decay_at_first", references, residency), binary, ("isolated", "amortised"))
    assert seen.before is not None
    assert seen.before.passed
    assert seen.after is not None
    assert seen.after.kind == "wrong"
    assert "state[" in (seen.after.failure or "")


def test_an_update_past_the_end(worker: Worker, binary: str, references: dict[str, str]) -> None:
    seen = measured(worker, decay_plan("decay_past_the_end", references, "cold"), binary, ("isolated",))
    assert seen.before is not None
    assert seen.before.kind == "violation"
    assert "state: 4 bytes overwritten past its end" in (seen.before.failure or "")
