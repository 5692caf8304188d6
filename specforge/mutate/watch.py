"""A worker whose calls are timed, cut where a mutant takes far longer than the kernel did, and not made twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.verify.example import Example, ExampleResult

R = TypeVar("R")

PATIENCE = 3.0, 20.0
"""An example hangs beyond so many seconds of processor time and so many times what the unchanged kernel took."""


@dataclass(slots=True)
class Watch:
    """See above; of one set of binaries, whose passing examples it remembers."""

    worker: Worker
    known: Mapping[str, float] = field(default_factory=dict)
    """Seconds that examples took the unchanged kernel, built likewise, by row."""
    seconds: dict[str, float] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    _passed: dict[tuple[str, str], tuple[int, ExampleResult]] = field(default_factory=dict)
    """Rounds of fresh values and the result, by binary and row."""

    def call(self, task: Callable[[Any, Any], R], payload: Any, *, timeout: float) -> R:  # noqa: ANN401 - as the worker's
        """Run a task of the fuzzing; `payload` is its `Task`."""
        _, binary, example, rounds, *_ = payload
        row = example.to_row()
        most, before = self._passed.get((binary, row), (-1, None))
        if before is not None and most >= rounds:
            return before  # type: ignore[return-value]  # the fuzzing has one kind of task
        least, times = PATIENCE
        slowest = max(self.known.values(), default=0.0)
        limit = least + times * self.known.get(row, slowest) if slowest else timeout
        started = time.monotonic()
        try:
            result = self.worker.call(run_limited, (limit, task, payload), timeout=timeout)
        finally:
            self.seconds[row] = time.monotonic() - started
            self.examples.append(example)
        if isinstance(result, ExampleResult) and result.passed:
            self._passed[binary, row] = rounds, result
        return result

    def restart(self) -> None:
        """Have the next task find a fresh process, which tells whether a waiver covers a wrong value."""
        self.worker.restart()


def run_limited(runner: Runner, payload: tuple[float, Callable[[Runner, Any], R], Any]) -> R:
    """Run a task within so many seconds of this process's own time; SIGPROF ends the process, as nothing else could.

    Not seconds of the clock: on a busy machine every mutant would hang.
    """
    limit, task, given = payload
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        return task(runner, given)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
