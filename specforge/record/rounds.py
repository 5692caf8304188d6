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
    rounds = [[sample for batch in batches for sample in batch] for batches in batches_of(case, mode)]
    return [samples for samples in rounds if samples]


def batches_of(case: CaseEntry, mode: str) -> list[list[list[float]]]:
    """As `rounds_of`, cut into batches; version 1 did not keep where they ended, and has one batch."""
    rounds = case.measurement.rounds if case.measurement is not None else []
    return [
        [batch.samples for batch in process.series[mode].batches if batch.discarded is None]
        for process in rounds
        if mode in process.series
    ]
