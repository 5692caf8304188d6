"""What timing needs of processors, begun while kernels are still searched: references' answers, and peers that compile.

A search leaves most processors idle towards its end: its longest kernel is one thread's. What is begun here stands back
for it, and is waited for before anything is timed.
"""

from __future__ import annotations

import tempfile
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
from specforge.diagnostics import SpecForgeError
from specforge.measure.answers import is_freshened
from specforge.measure.case import work_ahead


class Ahead:
    """Work for one spec's jobs, each begun once; nothing of it outlives the block that it is for.

    What a process cannot do here is left for the one that measures, which meets the same and reports it.
    """

    def __init__(self, runner: str, width: int) -> None:
        self._runner, self._width = runner, width
        self._room = Room()
        self._begun: set[str] = set()
        self._pending: list[Future[SpecForgeError | None]] = []
        self._teams: list[Team] = []

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
            self._teams.pop().end()

    def begin(self, jobs: Iterable[Job]) -> None:
        """Have large answers of these jobs worked out, the largest first, and their peers made."""
        new = [job for job in jobs if job.case not in self._begun]
        self._begun.update(job.case for job in new)
        large = sorted(filter(worth_ahead, new), key=lambda job: job.given_bytes, reverse=True)
        self._submit(
            "emulator",
            self._width,
            [
                partial(self._answer, job, fresh)
                for job in large
                for fresh in ((False, True) if is_freshened(job.task.plan) else (False,))
            ],
        )
        peers = [partial(make, job, peer) for job, peer in kinds_first(new)]
        self._submit(self._runner, min(MAKERS, self._width // 2), peers, GUEST_MODULES)

    def _submit(
        self,
        runner: str,
        width: int,
        errands: Sequence[Callable[[Worker], SpecForgeError | None]],
        modules: Sequence[str] = (),
    ) -> None:
        if width and errands:
            team = Team(runner, min(width, len(errands)), modules)
            self._teams.append(team)
            self._pending += [team.submit(errand) for errand in errands]

    def wait(self, progress: Reporter) -> None:
        """Until all that was begun is there, and its processes have ended; raises references' own diagnostics."""
        if not all(one.done() for one in self._pending):
            progress.stage("working out large cases' references, making peers", len(self._pending))
        for done, _ in enumerate(as_completed(self._pending), start=1):
            progress.advance(done, len(self._pending))
        pending, self._pending = self._pending, []
        self._end()
        found = [one.result() for one in pending]
        wrong = [diagnostic for one in found if one is not None for diagnostic in one.diagnostics]
        if wrong:
            raise SpecForgeError(*dict.fromkeys(wrong))

    def _answer(self, job: Job, fresh: bool, worker: Worker) -> SpecForgeError | None:
        task = replace(job.task, answers=self.folder)
        with self._room.taken(memory_of(task.plan)):
            try:
                worker.call(work_ahead, (task, fresh), timeout=job.timeout)
            except (TaskFailed, WorkerCrashed, WorkerTimeout):
                worker.restart()
            except SpecForgeError as wrong:
                return wrong
        return None
