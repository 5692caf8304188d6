"""Processes of one kind that work side by side; none outlives the block that they are for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from specforge.backend.worker import Worker

R = TypeVar("R")


class Team:
    """At most `width` workers, each started when there is something for it to do."""

    def __init__(self, runner: str, width: int, modules: Sequence[str] = ()) -> None:
        self._runner, self._modules = runner, modules
        self._pool = ThreadPoolExecutor(max(1, width))
        self._local = threading.local()
        self._turn = threading.Lock()
        self._workers: list[Worker] = []
        self._ended = False

    def submit(self, errand: Callable[[Worker], R]) -> Future[R]:
        """Have an errand run with a worker of its own as soon as one is free."""
        return self._pool.submit(lambda: errand(self._own()))

    def _own(self) -> Worker:
        if not hasattr(self._local, "worker"):
            self._local.worker = Worker(self._runner, self._modules)
            with self._turn:
                self._workers.append(self._local.worker)
                if self._ended:
                    self._local.worker.close()
        worker: Worker = self._local.worker
        return worker

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was submitted; an error, or Ctrl-C while it is waited for, ends it."""
        try:
            if kind is None:
                self._pool.shutdown(wait=True)
        finally:
            self.end()

    def end(self) -> None:
        """End what was submitted, and the processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._turn:
            self._ended = True
        for worker in self._workers:
            worker.close()
        self._pool.shutdown(wait=True)
