"""References' answers to large cases, worked out side by side ahead of timing, so that no card waits for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.jobs import Job
from specforge.measure.case import work_ahead

LEAST_BYTES = 1 << 20
"""Inputs below it are drawn and answered sooner than a process starts."""
GROWTH = 16
"""Memory that an answer takes, in bytes of the stored inputs: 4-bit weights become 64-bit numbers."""


def answer_ahead(jobs: Sequence[Job], folder: str, width: int, advance: Callable[[int], None]) -> None:
    """Leave the answers of these jobs in the folder, at most `width` at a time and in half of the machine's memory.

    `advance` is told how many are done. What a process cannot do here is left for the one that measures, which reports
    it. Raises a reference's own diagnostics.
    """
    room = _Room(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    workers: list[Worker] = []
    local = threading.local()
    done = 0

    def one(job: Job) -> None:
        nonlocal done
        if not hasattr(local, "worker"):
            local.worker = Worker("emulator")
            workers.append(local.worker)
        with room.taken(GROWTH * job.given_bytes):
            try:
                local.worker.call(work_ahead, replace(job.task, answers=folder), timeout=job.timeout)
            except (TaskFailed, WorkerCrashed, WorkerTimeout):
                local.worker.restart()
        with room.changed:
            done += 1
            advance(done)

    with ThreadPoolExecutor(min(width, len(jobs))) as pool:
        try:
            largest_first = sorted(jobs, key=lambda job: job.given_bytes, reverse=True)
            for future in [pool.submit(one, job) for job in largest_first]:
                future.result()
        finally:
            for worker in workers:
                worker.close()
            pool.shutdown(wait=True, cancel_futures=True)


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
