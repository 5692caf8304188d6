"""Workers of one kernel that take steps side by side, each where a processor is free."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from specforge.backend.worker import Worker, WorkerCrashed
from specforge.check.checker import Bench
from specforge.expressions import Scalar

T = TypeVar("T")
R = TypeVar("R")


class Crew:
    """Lends benches with a worker each, at most as many at once as there are `places`, which crews share.

    What is tried on a bench has `seconds` from when it was lent, so that waiting for a place costs little of its time;
    everything has twice as many from the start. Nothing may wait for another step while it holds a bench.
    """

    def __init__(self, places: threading.Semaphore, device: Mapping[str, Scalar], seed: int, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + 2 * seconds
        self._places = places
        self._device = device
        self._seed = seed
        self._turn = threading.Lock()
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[Bench]:
        """A bench for one step; raises WorkerCrashed once the crew is closed."""
        with self._places:
            worker = self._take()
            try:
                deadline = min(time.monotonic() + self.seconds, self._end)
                yield Bench(worker, self._device, self._seed, deadline)
            finally:
                self._idle.append(worker)

    def each(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """What the step gives for each item, in order; all are begun at once, where there are places."""
        pool = ThreadPoolExecutor(max(1, len(items)))
        # The last come first: they are the largest cases, and would be waited for at the end.
        futures = [pool.submit(step, item) for item in reversed(items)]
        pool.shutdown(wait=False)
        return (future.result() for future in reversed(futures))

    def close(self) -> None:
        """End the workers for good, and with them every step that is under way or waits for a place."""
        with self._turn:
            self._closed = True
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Crew:
        """Close at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers, whatever happened in the block."""
        self.close()

    def _take(self) -> Worker:
        with self._turn:
            if self._closed:
                raise WorkerCrashed("the worker is closed")
            if not self._idle:
                # References are numpy on the CPU: on a card, too, no worker here needs it.
                self._idle.append(Worker("emulator"))
                self._workers.append(self._idle[-1])
            return self._idle.pop()
