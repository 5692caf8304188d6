"""References' answers worked out side by side, ahead of timing and after it, so that no card waits for them."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.jobs import Job
from specforge.check.team import Team
from specforge.diagnostics import SpecForgeError
from specforge.measure.answers import is_kept
from specforge.measure.case import settle
from specforge.measure.owed import Owed, Timed
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


def settle_all(
    owing: Sequence[tuple[Job, Timed]], width: int, advance: Callable[[int, int], None]
) -> list[list[ExampleResult | Failed]]:
    """Make the checks that these cases owe, at most `width` at a time, and those that failed once more, one by one."""
    errands = [(job, owed) for job, timed in owing for owed in timed.owed]
    found = _side_by_side(errands, width, advance)
    failed = [place for place, one in enumerate(found) if isinstance(one, TaskFailed | WorkerCrashed | WorkerTimeout)]
    for place, again in zip(failed, _side_by_side([errands[place] for place in failed], 1, advance), strict=True):
        found[place] = again
    results = iter(found)
    return [[next(results) for _ in timed.owed] for _, timed in owing]


def _side_by_side(
    errands: Sequence[tuple[Job, Owed]], width: int, advance: Callable[[int, int], None]
) -> list[ExampleResult | Failed]:
    """What came of each check, in order."""
    room = Room()
    done = 0

    def run(job: Job, owed: Owed, worker: Worker) -> ExampleResult | Failed:
        nonlocal done
        found: ExampleResult | Failed
        with room.taken(memory_of(job.task.plan)):
            try:
                found = worker.call(settle, (job.task, owed), timeout=job.timeout)
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
        return [future.result() for future in [team.submit(partial(run, *errand)) for errand in errands]]


class Room:
    """So many bytes of memory, half of the machine's unless told; who needs more than there are gets all of them."""

    def __init__(self, size: int | None = None) -> None:
        self.changed = threading.Condition()
        self._size = self._left = size or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2

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
