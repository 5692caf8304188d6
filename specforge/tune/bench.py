"""Timing the configurations of one case on the card: built side by side, each verified before and after it is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from specforge.backend.runner import KernelFault
from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.backends import Choice, live_architecture
from specforge.check.card import TakenCard
from specforge.check.context import Context
from specforge.check.handover import CardGone, Trouble, greet
from specforge.check.jobs import Job
from specforge.check.metrics import floors_of
from specforge.check.prepare import render_all
from specforge.check.variants import Variant, variant_of
from specforge.diagnostics import SpecForgeError
from specforge.kernel.build import Binary, build_all
from specforge.kernel.build import Job as BuildJob
from specforge.kernel.cache import Cache
from specforge.kernel.occupancy import check_launches
from specforge.kernel.resources import EntryResources
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.cell import Cell
from specforge.measure.measurement import Measurement
from specforge.measure.series import Mode
from specforge.measure.stopping import StopRule
from specforge.spec.geometry import Plan, plan
from specforge.spec.interface import Kernel
from specforge.spec.load import Spec
from specforge.spec.sweep import Case
from specforge.spec.timing import Timing
from specforge.tune.space import Configuration
from specforge.verify.example import Example

ROUGH = StopRule(
    precision=0.06, minimum=16, maximum=200, seconds=0.3, retries=2, batch=8, warmup_launches=3, warmup_seconds=0.02
)
CAREFUL = StopRule(precision=0.02, minimum=20, seconds=1.0, retries=5)

_NOTHING = EntryResources(0, 0, 0, 0, 0, None)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a configuration is out. `wrong`: its result, or it crashed; `refused`: no such launch; `trouble`: machine."""

    kind: Literal["wrong", "refused", "trouble"]
    reason: str


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the configurations of a spec's cases are timed, and in which mode."""

    spec: Spec
    choice: Choice
    card: TakenCard
    context: Context
    mode: Mode
    answers: str
    """A folder that keeps references' answers."""


@dataclass
class Bench:
    """One case's configurations; `failures` says why some are out. `worker` serves all that is timed roughly."""

    ground: Ground
    case: Case
    timing: Timing
    worker: Worker
    failures: dict[Configuration, Failure] = field(default_factory=dict)
    measured: list[Measurement] = field(default_factory=list)
    """At full precision."""
    compiler: str = ""
    _binaries: dict[Variant, Binary | Failure] = field(default_factory=dict)
    _done: int = 0

    def rough(self, batch: Sequence[Configuration], *, careful: bool) -> Mapping[Configuration, float]:
        """Seconds of each, in one process."""
        found: dict[Configuration, float] = {}
        rule = CAREFUL if careful else ROUGH
        for one, task in self._tasks(batch, rule).items():
            seen = self._measure(self.worker, one, task)
            self._done += 1
            self.ground.context.progress.advance(self._done)
            if seen is not None:
                found[one] = seen.series[self.ground.mode].median.value
        return found

    def final(self, batch: Sequence[Configuration]) -> Mapping[Configuration, Sequence[Sequence[float]]]:
        """Samples of each at full precision; every process times all of them, beginning with another one."""
        ground, timing = self.ground, self.timing
        self.worker.restart()  # what is left on the card is a stranger to the processes below, and waited for
        tasks = self._tasks(batch, StopRule(precision=timing.precision, seconds=timing.seconds))
        rounds: dict[Configuration, list[Measurement]] = {one: [] for one in tasks}
        progress = ground.context.progress
        progress.stage(f"{self.case.id}: the best {len(tasks)} in {timing.processes} processes", timing.processes)
        for number in range(timing.processes):
            with Worker(ground.choice.runner) as worker:
                order = list(tasks)
                turn = number % max(1, len(order))
                for one in (*order[turn:], *order[:turn]):
                    seen = self._measure(worker, one, tasks[one])
                    if seen is not None:
                        rounds[one].append(seen)
            progress.advance(number + 1)
        for one, seen_all in rounds.items():
            wrong = Cell(tuple(seen_all)).implausible(floors_of(tasks[one].plan, ground.choice))
            if wrong is not None:
                self.failures[one] = Failure("wrong", wrong)
        right = {one: seen for one, seen in rounds.items() if one not in self.failures}
        self.measured += [each for seen in right.values() for each in seen]
        return {one: [each.series[ground.mode].samples for each in seen] for one, seen in right.items()}

    def _tasks(self, batch: Sequence[Configuration], rule: StopRule) -> dict[Configuration, MeasureTask]:
        """What to measure of those that can be built and launched."""
        ground = self.ground
        kernel, parameters = _kernel(self.case), self.case.parameters
        plans = {one: plan(kernel, parameters, dict(one)) for one in batch if one not in self.failures}
        made = {one: variant_of(kernel, parameters, dict(one)) for one in plans}
        self._build({variant: plans[one] for one, variant in made.items() if variant not in self._binaries})
        assert ground.choice.device is not None
        bandwidth = ground.choice.device.names.get("device.memory_bandwidth")
        found = {}
        for one, shape in plans.items():
            binary = self._binaries[made[one]]
            if isinstance(binary, Failure):
                self.failures[one] = binary
                continue
            refusals = check_launches(kernel, shape, binary.resources, ground.choice.device.file)
            if refusals:
                self.failures[one] = Failure("refused", f"{refusals[0].message} ({refusals[0].value})")
                continue
            self.compiler = binary.compiler
            found[one] = MeasureTask(
                shape,
                str(binary.cubin),
                binary.cubin_sha256,
                Example(dict(parameters), seed=ground.context.options.seed),
                None if bandwidth is None else float(bandwidth),
                (ground.mode,),
                rule,
                answers=ground.answers,
            )
        return found

    def _build(self, wanted: Mapping[Variant, Plan]) -> None:
        settings = self.ground.context.settings
        architecture = live_architecture(self.ground.choice, self.ground.spec)
        jobs: dict[Variant, BuildJob] = {}
        for variant, shape in wanted.items():
            try:
                rendered = render_all({variant: shape})[variant]
                jobs[variant] = BuildJob(rendered, variant.kernel, architecture)
            except SpecForgeError as error:
                self._binaries[variant] = Failure("refused", error.diagnostics[0].message)
        cache = Cache(settings.state / "cache" / "cubin")
        results = build_all(list(jobs.values()), cache, threads=settings.jobs)
        for variant, made in zip(jobs, results, strict=True):
            if isinstance(made, SpecForgeError):
                reason = f"it does not compile: {made.diagnostics[0].message}"
                self._binaries[variant] = Failure("refused", reason)
            else:
                self._binaries[variant] = made

    def _measure(self, worker: Worker, one: Configuration, task: MeasureTask) -> Measurement | None:
        """One configuration in one process, verified; None where it is out from now on."""
        if one in self.failures:
            return None
        ground = self.ground
        try:
            seen = self._call(worker, task)
        except (KernelFault, WorkerTimeout, WorkerCrashed) as fault:
            worker.restart()
            self.failures[one] = Failure("wrong", f"it fails: {fault}")
            return None
        except CardGone:
            raise
        except (TaskFailed, Trouble) as trouble:
            self.failures[one] = Failure(
                "trouble", trouble.summary if isinstance(trouble, TaskFailed) else str(trouble)
            )
            return None
        failure = _verdict(seen, ground.mode)
        if failure is not None:
            self.failures[one] = failure
        return seen if failure is None else None

    def _call(self, worker: Worker, task: MeasureTask) -> Measurement:
        """Measure; trouble with the machine is tried once more in a fresh process."""
        ground, timeout = self.ground, Job(self.case.id, task, 1).timeout
        for attempt in (1, 2):
            try:
                greet(worker, ground.card, ground.context)
                seen = worker.call(measure_case, task, timeout=timeout)
                clocks = ground.card.clocks_fault(seen)
                if clocks is not None:
                    raise Trouble(clocks)
            except CardGone:
                raise
            except (TaskFailed, Trouble):
                worker.restart()
                if attempt == 2:
                    raise
            else:
                return seen
        raise AssertionError("the second attempt returns or raises")


def feasible(kernel: Kernel, case: Case, choice: Choice) -> Callable[[Configuration], bool]:
    """Whether kernel.yaml gives a configuration a launch that the card could take, its registers aside."""
    assert choice.device is not None
    file = choice.device.file
    known: dict[Configuration, bool] = {}
    blank = {launch.entry: _NOTHING for launch in kernel.file.launches}

    def possible(one: Configuration) -> bool:
        if one not in known:
            try:
                shape = plan(kernel, case.parameters, dict(one))
            except SpecForgeError:
                known[one] = False
            else:
                known[one] = not check_launches(kernel, shape, blank, file)
        return known[one]

    return possible


def _verdict(seen: Measurement, mode: Mode) -> Failure | None:
    """Why a measurement stands for nothing; None where it is a time of a right result."""
    for when, check in (("before timing", seen.before), ("in a timed launch", seen.after)):
        if check is not None and not check.passed:
            return Failure("wrong", f"wrong {when}: {check.failure}")
    if seen.refusal is not None:
        return Failure("trouble", seen.refusal)
    if not seen.verified or mode not in seen.series or not seen.series[mode].samples:
        return Failure("trouble", "; ".join(seen.notes) or "no time was obtained")
    if seen.cold == "unproven":
        said = [note for note in seen.notes if note.startswith("cold is unproven")]
        return Failure("trouble", said[0] if said else "cold is unproven")
    return None


def _kernel(case: Case) -> Kernel:
    assert case.kernel is not None
    return case.kernel
