"""Progress of a run: a live display on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Reporter(Protocol):
    """Receives what a run is doing."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A step begins; `total` units of work are expected, where that is known."""

    def advance(self, done: int, total: int | None = None) -> None:
        """`done` units of the current step are finished."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing, whatever happened."""


class PlainReporter:
    """One line a step, and one every ten seconds within a long one."""

    def __init__(self) -> None:
        self._name = ""
        self._next = 0.0

    def stage(self, name: str, total: int | None = None) -> None:
        """Print the step's name."""
        self._name = name
        self._next = time.monotonic() + 10
        print(f"specforge: {name}" + (f" ({total})" if total else ""), file=sys.stderr, flush=True)

    def advance(self, done: int, total: int | None = None) -> None:
        """Print a count now and then."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 10
            print(f"specforge: {self._name}: {done}" + (f" of {total}" if total else ""), file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to stop."""


class LiveReporter:
    """A bar on the terminal that disappears when the run ends."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress: Progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task: TaskID | None = None

    def stage(self, name: str, total: int | None = None) -> None:
        """Replace the bar by one for this step."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total)

    def advance(self, done: int, total: int | None = None) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total)

    def __enter__(self) -> Self:
        """Show the display."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the display."""
        self._progress.stop()


def reporter(*, live: bool) -> Reporter:
    """The reporter that fits where standard error goes."""
    return LiveReporter() if live else PlainReporter()
