"""What timing needs of processors, begun while kernels are still searched: references' answers, and peers that compile.

A search leaves most processors idle towards its end: its longest kernel is one thread's. What is begun here stands back
for it, and is waited for before anything is timed. The first spec of a run begins what the others need as well.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.answers import Room, memory_of, worth_ahead
from specforge.check.jobs import Job
from specforge.check.peers import GUEST_MODULES, MAKERS, kinds_first, make
from specforge.check.progress import Reporter
from specforge.check.team import Team
from specforge.diagnostics import Diagnostic, SpecForgeError
from specforge.measure.answers import is_freshened
from specforge.measure.case import work_ahead

PATIENCE = 4.0
"""As long, by a measuring process's time, may an answer take that stands back for others."""

_Errand = Callable[[Worker], Sequence[Diagnostic] | None]


class Ahead:
    """Work for a run's jobs, each begun once; nothing of it outlives the block that it is for.

    What a process cannot do here is left for the one that measures, which meets the same and reports it.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._room = Room()
        self._begun: set[tuple[str, str]] = set()
        self._pending: dict[Future[Sequence[Diagnostic] | None], str] = {}
        """Each errand, and its spec."""
        self._wrong: dict[str, list[Diagnostic]] = defaultdict(list)
        """What errands told of references, by spec."""
        self._teams: dict[str, Team] = {}
        """By runner."""

    def __enter__(self) -> Self:
        """Make the folder that keeps answers."""
        self._kept = tempfile.TemporaryDirectory(prefix="specforge-")
        self.folder = self._kept.name
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what nobody waited for."""
        with self._kept:
            self._end()

    def _end(self) -> None:
        while self._teams:
            self._teams.popitem()[1].end()

    def begin(self, spec: str, jobs: Iterable[Job], runner: str) -> None:
        """Have large answers of a spec's jobs worked out, the largest first, and their peers made by a runner."""
        new = [job for job in jobs if (spec, job.case) not in self._begun]
        self._begun.update((spec, job.case) for job in new)
        large = sorted(filter(worth_ahead, new), key=lambda job: job.given_bytes, reverse=True)
        answers = [
            partial(self._answer, job, fresh)
            for job in large
            for fresh in ((False, True) if is_freshened(job.task.plan) else (False,))
        ]
        self._submit(spec, "emulator", self._width, answers)
        peers = [partial(make, job, peer) for job, peer in kinds_first(new)]
        self._submit(spec, runner, min(MAKERS, self._width // 2), peers, GUEST_MODULES)

    def _submit(
        self, spec: str, runner: str, width: int, errands: Iterable[_Errand], modules: Sequence[str] = ()
    ) -> None:
        for errand in errands if width else ():
            if runner not in self._teams:
                self._teams[runner] = Team(runner, width, modules)
            self._pending[self._teams[runner].submit(errand)] = spec

    def wait(self, spec: str, progress: Reporter) -> None:
        """Until all that was begun is there, and its processes have ended.

        Raises the diagnostics of this spec's references.
        """
        if not all(one.done() for one in self._pending):
            progress.stage("working out large cases' references, making peers", len(self._pending))
        for done, one in enumerate(as_completed(self._pending), start=1):
            self._wrong[self._pending[one]] += one.result() or ()
            progress.advance(done, len(self._pending))
        self._pending = {}
        self._end()
        if self._wrong[spec]:
            raise SpecForgeError(*dict.fromkeys(self._wrong.pop(spec)))

    def _answer(self, job: Job, fresh: bool, worker: Worker) -> tuple[Diagnostic, ...]:
        """What is wrong with the reference."""
        task = replace(job.task, answers=self.folder)
        with self._room.taken(memory_of(task.plan)):
            try:
                worker.call(work_ahead, (task, fresh), timeout=PATIENCE * job.timeout)
            except (TaskFailed, WorkerCrashed, WorkerTimeout):
                worker.restart()
            except SpecForgeError as wrong:
                return wrong.diagnostics
        return ()
