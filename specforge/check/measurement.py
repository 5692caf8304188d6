"""Measure cases on the card that was chosen: in several rounds, each a fresh process, no case taking others down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from specforge.backend.lock import CardBusy
from specforge.backend.runner import KernelFault
from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.ahead import Ahead
from specforge.check.answers import settle_all
from specforge.check.backends import Choice
from specforge.check.calibrate import calibrate
from specforge.check.card import TakenCard, taken_card
from specforge.check.context import Context
from specforge.check.handover import CardGone, Trouble, greet, relieved, said
from specforge.check.jobs import Job
from specforge.check.journal import Journal
from specforge.check.peers import GUEST_MODULES, absent_peer, gather_rounds, measure_round
from specforge.diagnostics import Diagnostic, SpecForgeError, fail
from specforge.measure.case import time_case
from specforge.measure.cell import Cell
from specforge.measure.floors import measure_floors
from specforge.measure.measurement import Measurement
from specforge.measure.owed import Timed
from specforge.measure.peer import PeerCell, PeerMeasurement
from specforge.measure.series import Mode
from specforge.measure.session import Session
from specforge.verify.example import ExampleResult

FLOOR_SECONDS = 60.0
MODULES = ("specforge.measure.case", "specforge.backend.cuda")
"""What a process that measures imports ahead of its turn."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case: what its processes measured until all had, or until a fault or trouble ended it."""

    cell: Cell
    fault: KernelFault | None = None
    trouble: str | None = None
    peers: dict[str, PeerCell] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that measuring one spec showed; `outcomes` go by case."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    session: Session | None = None
    clocks: str | None = None
    """The clocks policy, in words."""
    notes: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()
    """When a killed run was taken up again, UTC."""


def measure(
    spec: str, jobs: Sequence[Job], choice: Choice, opened: Callable[[], Journal], context: Context, *, ahead: Ahead
) -> Measured:
    """Measure each case in as many processes as its timing says; what the journal holds is not measured again.

    Begins what timing needs ahead of it where nobody has, and waits for that.
    `opened` opens the journal once the card is held: two runs of a spec on one card must not share it. Raises what that
    raises, SF607 where the journal holds a measurement of another binary, and a reference's own diagnostics.
    """
    assert choice.card is not None
    course = _Course(jobs, choice, Journal(None), context)
    clocks: str | None = None
    notes: tuple[str, ...] = ()
    try:
        with taken_card(context, choice.card.uuid) as card:
            notes, course.journal = tuple(card.notes), opened()
            _check_binaries(jobs, course.journal)
            course.run(card, ahead, spec)
            measured = [one for one in course.journal.rounds.values() if isinstance(one, Measurement)]
            clocks = card.clocks_policy(measured)
    except (CardBusy, CardGone) as reason:
        course.end(str(reason))
    outcomes = {job.case: course.outcome(job) for job in jobs}
    return Measured(outcomes, course.journal.session, clocks, notes, tuple(course.journal.resumed))


class _Course:
    """One spec's rounds. A case that failed, was refused or met trouble twice is closed: it has no further rounds."""

    def __init__(self, jobs: Sequence[Job], choice: Choice, journal: Journal, context: Context) -> None:
        self._jobs, self._choice, self.journal, self._context = jobs, choice, journal, context
        self._trouble: dict[str, str] = {}
        self._owing: list[tuple[Job, int, Timed]] = []
        self._ended: str | None = None

    def run(self, card: TakenCard, ahead: Ahead, spec: str) -> None:
        """All rounds that are still due."""
        journal = self.journal
        if journal.session is None:
            journal.add_session(self._session(card.uuid))
        rounds = max((job.processes for job in self._jobs), default=0)
        with ExitStack() as opened:
            jobs = [replace(job, task=replace(job.task, answers=ahead.folder)) for job in self._jobs]
            hosts = [self._round(number, opened) for number in range(rounds)]
            due = [job for job in jobs if any(self._left(job, number) for number in range(job.processes))]
            ahead.begin(spec, due, self._choice.runner)
            ahead.wait(spec, self._context.progress)
            for number, (host, guest) in enumerate(hosts):
                where = f"on {self._choice.name}, process {number + 1} of {rounds}"
                try:
                    left = [job for job in jobs if self._left(job, number)]
                    for job in self._told(f"measuring {where}", left):
                        self._one(job, number, host, card)
                except CardGone:
                    self._settle()
                    raise
                with guest:
                    left = self._peerless(jobs, number)
                    with relieved(host, guest if left else None, card, self._context):
                        self._settle()
                    left = [job for job in left if self._due(job, number, after=True)]
                    for job in self._told(f"measuring peers {where}", left):
                        journal.add_peers(job.case, number, self._peers(job, guest, card))

    def _told(self, stage: str, jobs: Sequence[Job]) -> Iterator[Job]:
        """Each job, with a line of progress for all that there are."""
        if jobs:
            self._context.progress.stage(stage, len(jobs))
        for done, job in enumerate(jobs):
            self._context.progress.advance(done)
            yield job
        if jobs:
            self._context.progress.advance(len(jobs))

    def _round(self, number: int, opened: ExitStack) -> tuple[Worker, Worker]:
        """The process that measures a round's cases and the one for their peers, both started where they are due.

        They import now, while references are worked out, what takes seconds later with nothing to do for the card.
        """
        host = opened.enter_context(Worker(self._choice.runner, MODULES))
        guest = opened.enter_context(Worker(self._choice.runner, GUEST_MODULES))
        if any(self._left(job, number) for job in self._jobs):
            host.start()
        if self._peerless(self._jobs, number):
            guest.start()
        return host, guest

    def end(self, reason: str) -> None:
        """Give every case that is not finished the same trouble, and every peer."""
        self._ended = reason
        for job in self._jobs:
            if self._due(job, job.processes - 1) and (job.case, job.processes - 1) not in self.journal.rounds:
                self._trouble.setdefault(job.case, reason)

    def outcome(self, job: Job) -> Outcome:
        """What became of one case."""
        found = [self.journal.rounds.get((job.case, number)) for number in range(job.processes)]
        cell = Cell(tuple(one for one in found if isinstance(one, Measurement)))
        fault = next((one for one in found if isinstance(one, KernelFault)), None)
        rounds = [self.journal.peers.get((job.case, number)) for number in range(job.peer_rounds)]
        peers = gather_rounds(one for one in rounds if one is not None)
        for peer in job.peers if self._ended is not None else ():
            if peer.name not in peers or len(peers[peer.name].rounds) < job.peer_rounds:
                peers[peer.name] = PeerCell((absent_peer(peer, f"it was not measured to the end: {self._ended}"),))
        return Outcome(cell, fault, self._trouble.get(job.case), peers)

    def _due(self, job: Job, number: int, *, after: bool = False) -> bool:
        """Whether nothing that an earlier round (`after`: or this one) showed has closed the case."""
        if number >= job.processes or job.case in self._trouble:
            return False
        before = [self.journal.rounds.get((job.case, earlier)) for earlier in range(number + after)]
        return not any(isinstance(one, KernelFault) or (one is not None and one.refusal) for one in before)

    def _left(self, job: Job, number: int) -> bool:
        """Whether this round is due and the journal does not hold it."""
        return self._due(job, number) and (job.case, number) not in self.journal.rounds

    def _peerless(self, jobs: Sequence[Job], number: int) -> list[Job]:
        """Those whose peers this round is due to measure, and the journal does not hold."""
        return [
            job
            for job in jobs
            if job.peers and number < job.peer_rounds and self._due(job, number)
            if (job.case, number) not in self.journal.peers
        ]

    def _one(self, job: Job, number: int, worker: Worker, card: TakenCard) -> None:
        """One case in one process. Trouble with the machine is tried once more in a fresh one."""
        for attempt in (1, 2):
            try:
                greet(worker, card, self._context)
                timed = worker.call(time_case, replace(job.task, groups=self._groups(job)), timeout=job.timeout)
                clocks = card.clocks_fault(timed.measurement)
                if clocks is not None:
                    raise Trouble(clocks)
                if timed.owed:
                    self._owing.append((job, number, timed))
                else:
                    self.journal.add_round(job.case, number, timed.settled(()))
            except KernelFault as fault:
                worker.restart()
                self.journal.add_round(job.case, number, fault)
            except WorkerTimeout as late:
                self.journal.add_round(job.case, number, KernelFault("hang", str(late)))
            except WorkerCrashed as crash:
                self.journal.add_round(job.case, number, KernelFault("crash", said(crash)))
            except CardGone:
                raise
            except (TaskFailed, Trouble) as trouble:
                worker.restart()
                if attempt == 2:
                    self._trouble[job.case] = said(trouble)
                continue
            return

    def _groups(self, job: Job) -> dict[Mode, int]:
        """Launch groups in the graphs that the first process timed of a case."""
        first = self.journal.rounds.get((job.case, 0))
        timed = first.series if isinstance(first, Measurement) else {}
        return {mode: series.groups for mode, series in timed.items() if mode != "isolated"}

    def _settle(self) -> None:
        """Make the checks that timing left owed, side by side, while nothing is timed."""
        owing, self._owing = self._owing, []
        if owing:
            self._context.progress.stage("checking what was timed")
        advance = self._context.progress.advance
        results = settle_all([(job, timed) for job, _, timed in owing], self._context.settings.jobs, advance)
        wrong: list[Diagnostic] = []
        for (job, number, timed), checks in zip(owing, results, strict=True):
            made = [check for check in checks if isinstance(check, ExampleResult)]
            failed = next((check for check in checks if not isinstance(check, ExampleResult)), None)
            if failed is None:
                self.journal.add_round(job.case, number, timed.settled(made))
            elif isinstance(failed, SpecForgeError):
                wrong += failed.diagnostics
            else:
                self._trouble[job.case] = f"what was timed could not be checked: {said(failed)}"
        if wrong:
            raise SpecForgeError(*dict.fromkeys(wrong))

    def _peers(self, job: Job, guest: Worker, card: TakenCard) -> dict[str, PeerMeasurement]:
        """One case's peers in one process; where none starts, as a library of theirs ends it, only they are absent."""
        try:
            greet(guest, card, self._context)
        except CardGone as reason:  # if it is the card, the next round's own process meets it
            return {peer.name: absent_peer(peer, str(reason)) for peer in job.peers}
        return measure_round(guest, job.task, job.peers)

    def _session(self, uuid: str) -> Session:
        """What an earlier spec of this run saw of the card, if it saw all."""
        seen = self._context.shared.sessions
        if uuid not in seen or seen[uuid].missing:
            seen[uuid] = self._take_session()
        return seen[uuid]

    def _take_session(self) -> Session:
        """The instrument's floors and the card's calibration; what fails is missing with its reason."""
        missing: dict[str, str] = {}
        floors = calibration = None
        try:
            with Worker(self._choice.runner) as worker:
                floors = worker.call(measure_floors, None, timeout=FLOOR_SECONDS)
        except (SpecForgeError, TaskFailed, KernelFault, WorkerTimeout, WorkerCrashed) as error:
            missing["floors"] = said(error)
        try:
            calibration = calibrate(self._choice, self._context)
        except SpecForgeError as error:
            missing["calibration"] = error.diagnostics[0].message
        return Session(floors, calibration, missing)


def _check_binaries(jobs: Sequence[Job], journal: Journal) -> None:
    """Refuse a journal of other binaries: what is timed is what was checked in this run."""
    found: list[Diagnostic] = []
    for job in jobs:
        for number in range(job.processes):
            one = journal.rounds.get((job.case, number))
            if isinstance(one, Measurement) and one.binary_sha256 != job.task.binary_sha256:
                hint = "run without --resume, which measures everything anew"
                message = f"the unfinished run measured another binary of {job.case}"
                found += fail("SF607", message, hint=hint).diagnostics
    if found:
        raise SpecForgeError(*dict.fromkeys(found))
