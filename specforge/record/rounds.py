"""The samples of a recorded case, by process; a record of version 1 has one process, and isolated times alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specforge.record.model import CaseEntry


def modes_of(case: CaseEntry) -> list[str]:
    """The modes that a case has samples of, in the order they were timed."""
    rounds = case.measurement.rounds if case.measurement is not None else []
    modes = dict.fromkeys(mode for process in rounds for mode in process.series)
    return [mode for mode in modes if rounds_of(case, mode)]


def rounds_of(case: CaseEntry, mode: str) -> list[list[float]]:
    """Seconds per launch group by process, in the order taken and without discarded batches; empty where none is there.

    Processes without a sample are left out.
    """
    rounds = case.measurement.rounds if case.measurement is not None else []
    found = (process.series[mode].samples for process in rounds if mode in process.series)
    return [samples for samples in found if samples]
