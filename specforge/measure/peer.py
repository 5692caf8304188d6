"""Measuring a peer: the kernel's own case, checks, engine and stopping rule, with somebody else's work to launch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from specforge.backend.cuda import CudaRunner
from specforge.backend.cuda_errors import CudaError
from specforge.backend.peer_case import PeerUnusable, describe
from specforge.backend.runner import Runner
from specforge.backend.telemetry import CardWatch
from specforge.kernel.peers import load_peer
from specforge.measure.case import MeasureTask, freshen, stand_back, undamaged
from specforge.measure.course import Course, judged
from specforge.measure.estimate import Estimate, estimate
from specforge.measure.residency import DoesNotFit, Residency, plan_residency
from specforge.measure.series import Mode, Series
from specforge.measure.timer import Timer
from specforge.spec.geometry import Plan, Tolerance
from specforge.spec.peers import DeclaredPeer
from specforge.verify.example import ExampleResult, draw_inputs

if TYPE_CHECKING:
    from specforge.backend.peer_case import PeerCase
    from specforge.verify.compare import Array

RESERVE = 1 << 30
"""Bytes of the card left to the peer's own libraries."""


@dataclass(frozen=True, slots=True)
class PeerTask:
    """What `measure_peer` needs: the kernel's own task, and which peer of which file."""

    case: MeasureTask
    peer: DeclaredPeer
    sha256: str
    """Of the peers' file, as the record names it."""


@dataclass(frozen=True, slots=True)
class PeerMeasurement:
    """One peer in one case in one process. Times are seconds; a peer that is `absent` has none."""

    name: str
    tolerance_times: float
    """Its errors were allowed so many times the kernel's tolerance, for a reason that its file gives."""
    reason: str | None
    versions: dict[str, str] = field(default_factory=dict)
    """By distribution; `not installed` where it is not."""
    series: dict[Mode, Series] = field(default_factory=dict)
    """By mode; `overlapped` is the kernel's alone."""
    operations: int = 0
    """Kernels, copies and fills of one launch group's worth of work; 0 where it is not known."""
    copies: dict[str, int] = field(default_factory=dict)
    rotated_bytes: int = 0
    before: ExampleResult | None = None
    after: ExampleResult | None = None
    absent: str | None = None
    """Why there are no times."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    """Wall time of the whole task."""

    @property
    def ratio(self) -> float:
        """Its largest error as a multiple of the tolerance it was allowed; 0 where nothing was compared."""
        return max((check.ratio for check in (self.before, self.after) if check is not None), default=0.0)


@dataclass(frozen=True, slots=True)
class PeerCell:
    """What every process measured of one peer in one case, in the order of the rounds."""

    rounds: tuple[PeerMeasurement, ...]

    @property
    def absent(self) -> str | None:
        """Why it has no times: it must be right and timed in every process."""
        if not self.rounds:
            return "it was not run"
        return next((found.absent for found in self.rounds if found.absent is not None), None)

    def samples(self, mode: Mode) -> tuple[tuple[float, ...], ...]:
        """The samples of every process in one mode; none where one process has none."""
        found = tuple(one.series[mode].samples for one in self.rounds if mode in one.series)
        return found if len(found) == len(self.rounds) and all(found) else ()

    @property
    def ratio(self) -> float:
        """Its largest error in any process, as a multiple of the tolerance it was allowed."""
        return max((found.ratio for found in self.rounds), default=0.0)

    def estimate(self, mode: Mode) -> Estimate | None:
        """The median over all processes; None where a process has no times of this mode."""
        rounds = self.samples(mode)
        return estimate(rounds) if rounds and self.absent is None else None


def make_peer(runner: Runner, task: PeerTask) -> None:
    """Have a peer make its work for one rotation, which compiles what it needs; a task for a worker on a card.

    Its library keeps that on disk for the processes that measure it. Raises whatever keeps it from being made.
    """
    if not isinstance(runner, CudaRunner):
        raise TypeError(f"{runner.name} makes no peers")
    stand_back()
    plan, example = task.case.plan, task.case.example
    peer = load_peer(task.peer.position.file, task.peer.name, task.sha256)
    case = runner.for_peer(runner.prepare(plan, task.case.binary, offset=example.offset))
    try:
        case.upload(draw_inputs(plan, example))
        case.poison()
        case.make(peer, plan.parameters, 1)
    finally:
        case.release()


def measure_peer(runner: Runner, task: PeerTask) -> PeerMeasurement:
    """Verify a peer on a card, time it, verify what timed runs of every mode left; a task for a worker.

    It gets the kernel's own inputs in as many cold copies as the kernel, and the engine that times the kernel. Hot
    inputs change their values once it is made, so that what it kept of them is wrong later. Whatever keeps it from
    being measured (a missing package, a shape it does not take, a wrong result) makes it `absent` with that reason.
    Raises KernelFault where it ruins the process, TypeError for a runner that is no card.
    """
    if not isinstance(runner, CudaRunner):
        raise TypeError(f"{runner.name} measures nothing: its times are nobody's")
    begin, declared = time.monotonic(), task.peer
    seen = PeerMeasurement(
        declared.name, declared.tolerance_times, declared.reason, versions=_versions(declared.packages)
    )
    try:
        with runner.without_persisting_l2():
            seen = _measure(runner, task, seen)
    except (PeerUnusable, DoesNotFit, CudaError, RuntimeError) as error:
        runner.wait()  # raises KernelFault where the peer's own kernels ruined the process
        seen = replace(seen, series={}, absent=str(error) if isinstance(error, DoesNotFit) else describe(error))
    return replace(seen, seconds=time.monotonic() - begin)


def _measure(runner: CudaRunner, task: PeerTask, seen: PeerMeasurement) -> PeerMeasurement:
    kernel, declared = task.case, task.peer
    residency = plan_residency(kernel.plan, runner.l2_bytes, runner.available_bytes() - RESERVE)
    seen = replace(seen, copies=residency.copies, rotated_bytes=residency.rotated_bytes)
    plan = loosened(kernel.plan, declared.tolerance_times)
    offset = kernel.example.offset
    inputs = draw_inputs(plan, kernel.example)
    try:
        peer = load_peer(declared.position.file, declared.name, task.sha256)
        case = runner.for_peer(
            runner.prepare(plan, kernel.binary, offset=offset, copies=residency.copies, spare=residency.total)
        )
    except ImportError as error:
        raise PeerUnusable(describe(error)) from None
    try:
        case.upload(inputs)
        case.poison()
        case.make(peer, plan.parameters, residency.rotations)
        want = kernel.ask(inputs)
        before = _check(case, want, residency.rotations)
        seen = replace(seen, before=before)
        if not before.passed:
            return replace(seen, absent=_wrong(before))
        if freshen(case, kernel, inputs):
            want = kernel.ask(inputs)
        return _timed(runner, case, residency=residency, kernel=kernel, inputs=inputs, want=want, seen=seen)
    finally:
        case.release()


def _check(case: PeerCase, want: dict[str, Array], rotations: int) -> ExampleResult:
    """One run over poisoned outputs against the reference; memory that is not the peer's to write is unchanged."""
    case.poison()
    if case.plan.updated:
        case.restore()  # its maker may have run it
    case.launch()
    case.wait()
    return undamaged(case, rotations, judged(case, want, 0))


def _timed(
    runner: CudaRunner,
    case: PeerCase,
    *,
    residency: Residency,
    kernel: MeasureTask,
    inputs: dict[str, Array],
    want: dict[str, Array],
    seen: PeerMeasurement,
) -> PeerMeasurement:
    notes: list[str] = []
    uncapturable = case.measure_length()
    with CardWatch(runner.uuid, before=runner.processes_before) as watch:
        timer = Timer(runner, case, residency, watch)
        operations = 0 if uncapturable else len(case.plan.launches)
        case.plan = replace(case.plan, launches=case.plan.launches[:1])  # one whole: its parts are nobody's to time
        kept = inputs if case.plan.updated else {}
        course = Course(case, timer, watch, kernel.rule, inputs=kept, want=want, ask=kernel.ask)
        if "isolated" in kernel.modes:
            course.isolated()
        if "amortised" in kernel.modes and uncapturable is None:
            try:
                course.amortised()
            except (CudaError, PeerUnusable, RuntimeError) as error:
                uncapturable = describe(error)
        if "amortised" in kernel.modes and uncapturable is not None:
            notes.append(f"not amortised: its work cannot be captured: {uncapturable}")
    seen = replace(seen, series=course.series, operations=operations, notes=(*course.notes, *notes))
    if course.after is None:
        return replace(seen, absent=notes[0] if notes else "none of the modes asked for applies to it")
    after = undamaged(case, residency.rotations, course.after)
    return replace(seen, after=after, absent=None if after.passed else _wrong(after))


def _wrong(found: ExampleResult) -> str:
    if found.kind == "violation":
        return f"it wrote where it must not: {found.failure}"
    return f"it is wrong, by {found.ratio:.3g} times its tolerance: {found.failure}"


def loosened(plan: Plan, times: float) -> Plan:
    """The plan with tolerances so many times as wide.

    `relative` stays as it is where there is a `conditioned` part: everybody rounds the output alike.
    """

    def widened(one: Tolerance) -> Tolerance:
        relative = one.relative if one.conditioned else one.relative * times
        return replace(one, relative=relative, conditioned=one.conditioned * times, absolute=one.absolute * times)

    return replace(plan, tolerances={name: widened(one) for name, one in plan.tolerances.items()})


def _versions(packages: Iterable[str]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
