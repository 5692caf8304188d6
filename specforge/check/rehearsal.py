"""Cases run once, side by side, ahead of timing: references answer and peers are compiled while no time is taken."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from specforge.backend.runner import KernelFault
from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.jobs import Job
from specforge.check.peers import measure_round
from specforge.diagnostics import SpecForgeError
from specforge.measure.answers import is_kept
from specforge.measure.case import measure_case
from specforge.measure.measurement import Measurement

LEAST_BYTES = 1 << 20
"""Inputs below it are drawn and answered sooner than a process starts."""
GROWTH = 16
"""Memory that an answer takes, in bytes of the stored inputs: 4-bit weights become 64-bit numbers."""
HOSTS = 16
"""Processes on the card at a time for the cases themselves."""
GUESTS = 4
"""And for their peers, each of which first imports their libraries."""


def worth_rehearsing(job: Job) -> bool:
    """Whether its references take long, or its peers have to be compiled."""
    return bool(job.peers) or (job.given_bytes >= LEAST_BYTES and is_kept(job.task.plan))


def rehearse(
    jobs: Sequence[Job], runner: str, folder: str, width: int, advance: Callable[[int], None]
) -> dict[str, Measurement | KernelFault]:
    """Run these jobs untimed and leave their answers in the folder: at most `width` at a time, in half of the memory.

    `advance` is told how many are done. Returns by case what shows a kernel to be wrong: it may be seen by chance, and
    not again. Any other trouble is left for the process that measures, which meets it with the machine to itself.
    """
    room = _Room(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    largest_first = sorted(jobs, key=lambda job: job.given_bytes, reverse=True)
    visited = [job for job in reversed(largest_first) if job.peers]  # so that hosts have answered the largest by then
    wrong: dict[str, Measurement | KernelFault] = {}
    hosts, guests = _Pool(runner, min(width, HOSTS, len(jobs))), _Pool(runner, min(width, GUESTS, len(visited)))

    def one(job: Job) -> None:
        with hosts.worker() as worker, room.taken(GROWTH * job.given_bytes):
            task = replace(job.task, answers=folder, untimed=True)
            try:
                found = worker.call(measure_case, task, timeout=job.timeout)
            except KernelFault as fault:
                wrong[job.case] = fault
                raise
            if any(check is not None and not check.passed for check in (found.before, found.after)):
                wrong[job.case] = found.refused("not timed: the result is wrong")

    def peers(job: Job) -> None:
        with guests.worker() as worker, room.taken(GROWTH * job.given_bytes):
            measure_round(worker, replace(job.task, answers=folder, modes=()), job.peers)

    try:
        futures = [hosts.submit(one, job) for job in largest_first] + [guests.submit(peers, job) for job in visited]
        for done, future in enumerate(futures, 1):
            future.result()
            advance(done * len(jobs) // len(futures))
    finally:
        for pool in (hosts, guests):
            pool.stop()
        for pool in (hosts, guests):
            pool.join()
    return wrong


class _Pool:
    """Threads with a worker each."""

    def __init__(self, runner: str, width: int) -> None:
        self._runner = runner
        self._local = threading.local()
        self._workers: list[Worker] = []
        self._stopped = False
        self._threads = ThreadPoolExecutor(max(width, 1))

    def submit(self, work: Callable[[Job], None], job: Job) -> Future[None]:
        return self._threads.submit(work, job)

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """This thread's; it starts anew after whatever went wrong in the block, which goes no further."""
        if not hasattr(self._local, "worker"):
            self._local.worker = Worker(self._runner)
            self._workers.append(self._local.worker)
        if self._stopped:
            self._local.worker.close()
        try:
            yield self._local.worker
        except (TaskFailed, KernelFault, SpecForgeError, WorkerCrashed, WorkerTimeout):
            self._local.worker.restart()

    def stop(self) -> None:
        """Begin nothing more, and end what runs."""
        self._stopped = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def join(self) -> None:
        """Wait until all threads have seen that."""
        self._threads.shutdown(wait=True)


class _Room:
    """So many bytes of memory; who needs more than there are gets all of them."""

    def __init__(self, size: int) -> None:
        self._changed = threading.Condition()
        self._size = self._left = size

    @contextmanager
    def taken(self, need: int) -> Iterator[None]:
        """Wait until there is so much, and have it for the block."""
        need = min(need, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= need)
            self._left -= need
        try:
            yield
        finally:
            with self._changed:
                self._left += need
                self._changed.notify_all()
