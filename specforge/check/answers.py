"""References' answers worked out side by side, ahead of timing and after it, so that no card waits for them."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.jobs import Job
from specforge.check.team import Team
from specforge.diagnostics import SpecForgeError
from specforge.measure.answers import is_freshened, is_kept
from specforge.measure.case import settle, work_ahead
from specforge.measure.owed import Timed
from specforge.verify.example import ExampleResult

if TYPE_CHECKING:
    from specforge.spec.geometry import Plan

LEAST_BYTES = 1 << 20
"""Inputs below it are drawn and answered sooner than a process starts."""
STORED, NUMBERS = 5, 16
"""Bytes of memory that an answer takes at most for each byte of its inputs, and for each number that becomes 64 bits:
those of a stack of matrices do so one matrix at a time. Of what was stored it measured 6.1 times for caches of 16 bits
and 11 for paged ones (13 here), 13 and 21 for those of 8 bits (21), 21 for a matrix of 6 (24), 1.5 to 5 for experts."""

Failed = TaskFailed | WorkerCrashed | WorkerTimeout | SpecForgeError
"""Why an errand has no result; the last is what is wrong with a reference itself."""


def worth_ahead(job: Job) -> bool:
    """Whether answers to a job are large enough to be worked out ahead, and small enough to be kept."""
    return job.given_bytes >= LEAST_BYTES and is_kept(job.task.plan)


def memory_of(plan: Plan) -> int:
    """Bytes, about, that working out an answer takes."""
    given = [buffer for buffer in plan.buffers if buffer.is_given]
    numbers = sum(math.prod(one.shape) for one in given if not (one.element.is_block and len(one.shape) > 2))
    return STORED * sum(buffer.nbytes for buffer in given) + NUMBERS * numbers


def answer_ahead(jobs: Sequence[Job], width: int, advance: Callable[[int, int], None]) -> None:
    """Leave the answers of these jobs in their tasks' folders, at most `width` at a time.

    `advance` is told how many of how many are there. What a process cannot do here is left for the one that measures,
    which reports it. Raises a reference's own diagnostics.
    """
    found = _side_by_side(
        [
            _Errand(work_ahead, (job.task, fresh), job)
            for job in sorted(jobs, key=lambda job: job.given_bytes, reverse=True)
            for fresh in ((False, True) if is_freshened(job.task.plan) else (False,))
        ],
        width,
        advance,
    )
    wrong = [diagnostic for one in found if isinstance(one, SpecForgeError) for diagnostic in one.diagnostics]
    if wrong:
        raise SpecForgeError(*dict.fromkeys(wrong))


def settle_all(
    owing: Sequence[tuple[Job, Timed]], width: int, advance: Callable[[int, int], None]
) -> list[list[ExampleResult | Failed]]:
    """Make the checks that these cases owe, at most `width` at a time, and those that failed once more, one by one."""
    errands = [_Errand(settle, (job.task, owed), job) for job, timed in owing for owed in timed.owed]
    found = _side_by_side(errands, width, advance)
    failed = [place for place, one in enumerate(found) if isinstance(one, TaskFailed | WorkerCrashed | WorkerTimeout)]
    for place, again in zip(failed, _side_by_side([errands[place] for place in failed], 1, advance), strict=True):
        found[place] = again
    results = iter(found)
    return [[next(results) for _ in timed.owed] for _, timed in owing]


@dataclass(frozen=True, slots=True)
class _Errand:
    """A task that uses no card."""

    task: Callable[..., Any]
    payload: object
    job: Job


def _side_by_side(errands: Sequence[_Errand], width: int, advance: Callable[[int, int], None]) -> list[Any]:
    """What came of each, in order; they share half of the machine's memory."""
    room = _Room(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    done = 0

    def run(errand: _Errand, worker: Worker) -> Any:  # noqa: ANN401 -- the task's result
        nonlocal done
        with room.taken(memory_of(errand.job.task.plan)):
            try:
                found = worker.call(errand.task, errand.payload, timeout=errand.job.timeout)
            except (TaskFailed, WorkerCrashed, WorkerTimeout) as failed:
                worker.restart()
                found = failed
            except SpecForgeError as wrong:
                found = wrong
        with room.changed:
            done += 1
            advance(done, len(errands))
        return found

    with Team("emulator", min(width, len(errands))) as team:
        return [future.result() for future in [team.submit(partial(run, errand)) for errand in errands]]


class _Room:
    """So many bytes of memory; who needs more than there are gets all of them."""

    def __init__(self, size: int) -> None:
        self.changed = threading.Condition()
        self._size = self._left = size

    @contextmanager
    def taken(self, need: int) -> Iterator[None]:
        """Wait until there is so much, and have it for the block."""
        need = min(need, self._size)
        with self.changed:
            self.changed.wait_for(lambda: self._left >= need)
            self._left -= need
        try:
            yield
        finally:
            with self.changed:
                self._left += need
                self.changed.notify_all()
