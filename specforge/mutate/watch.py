"""A worker that notes what `check`'s fuzzing had it run, and how long each example took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.verify.example import Task

R = TypeVar("R")


@dataclass(slots=True)
class Watch:
    """See above."""

    worker: Worker
    tasks: dict[str, Task] = field(default_factory=dict)
    """By row, in order; the same row may be run twice, and then the last time counts."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of processor time, by row."""

    def call(self, task: Callable[[Any, Any], R], payload: Any, *, timeout: float) -> R:  # noqa: ANN401 - as the worker's
        """Run a task of the fuzzing; `payload` is its `Task`."""
        taken, result = self.worker.call(run_timed, (task, payload), timeout=timeout)
        row = payload.example.to_row()
        self.tasks[row], self.seconds[row] = payload, taken
        return result

    def restart(self) -> None:
        """Have the next task find a fresh process, which tells whether a waiver covers a wrong value."""
        self.worker.restart()


def run_timed(runner: Runner, payload: tuple[Callable[[Runner, Any], R], Any]) -> tuple[float, R]:
    """Run a task; with what it gives, seconds of this process's own time."""
    task, given = payload
    started = time.process_time()
    result = task(runner, given)
    return time.process_time() - started, result
