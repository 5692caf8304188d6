"""Cases run once, side by side, ahead of timing: references answer and peers are compiled while no time is taken."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from specforge.backend.runner import KernelFault
from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.jobs import Job
from specforge.check.peers import measure_round
from specforge.diagnostics import SpecForgeError
from specforge.measure.answers import is_kept
from specforge.measure.case import measure_case

LEAST_BYTES = 1 << 20
"""Inputs below it are drawn and answered sooner than a process starts."""
GROWTH = 16
"""Memory that an answer takes, in bytes of the stored inputs: 4-bit weights become 64-bit numbers."""
CARD_WORKERS = 16
"""Processes on the card at a time."""
GUESTS = 4
"""And for peers, each of which first imports their libraries."""


def worth_rehearsing(job: Job) -> bool:
    """Whether its references take long, or its peers have to be compiled."""
    return bool(job.peers) or (job.given_bytes >= LEAST_BYTES and is_kept(job.task.plan))


def rehearse(jobs: Sequence[Job], runner: str, folder: str, width: int, advance: Callable[[int], None]) -> None:
    """Run these jobs untimed and leave their answers in the folder: at most `width` at a time, in half of the memory.

    `advance` is told how many are done. Whatever goes wrong here is left for the process that measures, which meets it
    again and reports it.
    """
    room = _Room(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    largest_first = sorted(jobs, key=lambda job: job.given_bytes, reverse=True)
    visited = [job for job in largest_first if job.peers]
    done = 0
    with ExitStack() as opened:
        hosts = _Pool(runner, min(width, CARD_WORKERS, len(jobs)), opened)
        guests = _Pool(runner, min(width, GUESTS, len(visited)), opened)

        def one(job: Job) -> None:
            with room.taken(GROWTH * job.given_bytes), hosts.worker() as worker:
                worker.call(measure_case, replace(job.task, answers=folder, untimed=True), timeout=job.timeout)

        def peers(job: Job) -> None:
            with room.taken(GROWTH * job.given_bytes), guests.worker() as worker:
                measure_round(worker, replace(job.task, answers=folder, modes=()), job.peers)

        futures = [hosts.submit(one, job) for job in largest_first] + [guests.submit(peers, job) for job in visited]
        for future in futures:
            future.result()
            done += 1
            advance(min(done, len(jobs)))


class _Pool:
    """Threads with a worker each."""

    def __init__(self, runner: str, width: int, opened: ExitStack) -> None:
        self._runner = runner
        self._local = threading.local()
        self._workers: list[Worker] = []
        self._threads = ThreadPoolExecutor(max(width, 1))
        opened.callback(self._end)

    def submit(self, work: Callable[[Job], None], job: Job) -> Future[None]:
        return self._threads.submit(work, job)

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """This thread's; it starts anew after whatever went wrong in the block, which goes no further."""
        if not hasattr(self._local, "worker"):
            self._local.worker = Worker(self._runner)
            self._workers.append(self._local.worker)
        try:
            yield self._local.worker
        except (TaskFailed, KernelFault, SpecForgeError, WorkerCrashed, WorkerTimeout):
            self._local.worker.restart()

    def _end(self) -> None:
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:  # one that a thread made meanwhile
            worker.close()


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
