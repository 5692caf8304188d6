"""Kernels joined into one launch group: what one writes is what the next reads, in the same memory of the card.

Each kernel keeps the cubin, the launch configuration and the reference that it is checked with alone. Runs in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.measurement.result import median_of
from specforge.backend.cuda import CudaRunner
from specforge.backend.runner import Runner
from specforge.backend.telemetry import CardWatch
from specforge.measure.case import undamaged
from specforge.measure.course import Course, judged
from specforge.measure.residency import label_cold, plan_residency
from specforge.measure.stopping import StopRule
from specforge.measure.throttle import collect_steadily
from specforge.measure.timer import Graph, Timer
from specforge.spec.geometry import Plan
from specforge.spec.timing import Mode
from specforge.verify.example import Example, draw_inputs
from specforge.verify.reference import call_reference

if TYPE_CHECKING:
    from specforge.backend.device_case import DeviceCase
    from specforge.verify.compare import Array

HOSTED = 30
"""Samples with the host in them."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One kernel of a path. `reads` names, for some of its inputs, the tensor that is read instead: `router.ids`."""

    name: str
    plan: Plan
    cubin: str
    reads: Mapping[str, str] = field(default_factory=dict)

    def whole(self, name: str) -> str:
        """A tensor's name in the path."""
        return self.reads.get(name, f"{self.name}.{name}")


@dataclass(frozen=True, slots=True)
class PathTask:
    """What `measure_path` needs."""

    stages: tuple[Stage, ...]
    memory_bandwidth: float | None
    seed: int = 1
    rule: StopRule = field(default_factory=lambda: StopRule(precision=0.01, seconds=3.0))


def join(stages: Sequence[Stage]) -> Plan:
    """One plan of all stages' launches in order; raises ValueError where a stage reads what no earlier one writes.

    A tensor that a stage updates in place must come out as it went in (a counter at zero), and is guarded like an
    input: after every run that is checked it must be unchanged.
    """
    buffers: dict[str, Any] = {}
    launches = []
    for stage in stages:
        for buffer in stage.plan.buffers:
            name = stage.whole(buffer.name)
            if buffer.name not in stage.reads:
                buffers[name] = replace(buffer, name=name, role="in" if buffer.role == "inout" else buffer.role)
                continue
            source = buffers.get(name)
            if source is None or source.role != "out" or buffer.role != "in":
                raise ValueError(f"{stage.name} reads {name} for {buffer.name}, which no stage ahead of it writes")
            if (source.shape, source.dtype) != (buffer.shape, buffer.dtype):
                due, given = (f"{one.dtype}{list(one.shape)}" for one in (buffer, source))
                raise ValueError(f"{stage.name} takes {buffer.name} as {due}; {name} is {given}")
        launches += [
            replace(launch, args=tuple(stage.whole(arg) if isinstance(arg, str) else arg for arg in launch.args))
            for launch in stage.plan.launches
        ]
    entries = [(launch.entry, stage.name) for stage in stages for launch in stage.plan.launches]
    if len({entry for entry, _ in entries}) < len(set(entries)):
        raise ValueError(f"two stages have an entry of one name: {sorted(entries)}")
    plans = [stage.plan for stage in stages]
    return replace(
        plans[0],
        kernel=" + ".join(plan.kernel for plan in plans),
        reference="",
        parameters={},
        tunables={},
        buffers=tuple(buffers.values()),
        launches=tuple(launches),
        bytes=sum(plan.bytes for plan in plans),
        flops=sum(plan.flops for plan in plans),
        steps=sum(plan.steps for plan in plans),
        tolerances={stage.whole(name): bound for stage in stages for name, bound in stage.plan.tolerances.items()},
        tokens=None,
        chain={},
    )


def drawn(stages: Sequence[Stage], seed: int) -> dict[str, Array]:
    """The inputs of the path: those of each stage that no other stage writes."""
    found: dict[str, Array] = {}
    for stage in stages:
        own = [buffer.name for buffer in stage.plan.buffers if buffer.is_given and buffer.name not in stage.reads]
        inputs = draw_inputs(stage.plan, Example(stage.plan.parameters, seed=seed), own)
        found |= {stage.whole(name): array for name, array in inputs.items()}
    return found


def expected(stages: Sequence[Stage], tensors: Mapping[str, Array]) -> dict[str, Array]:
    """What each stage's reference makes of `tensors`: drawn inputs, and what earlier stages wrote on the card.

    So a stage is held to what it was given, and a near-tie of the router costs no expert its verdict.
    """
    found: dict[str, Array] = {}
    for stage in stages:
        given = {buffer.name: tensors[stage.whole(buffer.name)] for buffer in stage.plan.buffers if buffer.is_given}
        found |= {stage.whole(name): array for name, array in call_reference(stage.plan, given).items()}
    return found


def measure_path(runner: Runner, task: PathTask) -> dict[str, Any]:
    """Check the path, time it in four ways, check what each left; seconds per launch group. A task for a worker.

    `alone`: plain launches of one group. `plain`: plain launches of many groups, all in the queue before the first
    runs. `hosted`: the same while the host, which is Python here, enqueues them. `graph`: the same groups captured.
    Raises ValueError where a result is wrong, TypeError for a runner that is no card.
    """
    if not isinstance(runner, CudaRunner):
        raise TypeError(f"{runner.name} measures nothing: its times are not a kernel's")
    plan, inputs = join(task.stages), drawn(task.stages, task.seed)
    residency = plan_residency(plan, runner.l2_bytes, runner.available_bytes())
    cubins = {launch.entry: stage.cubin for stage in task.stages for launch in stage.plan.launches}
    with runner.without_persisting_l2():
        case = runner.prepare(plan, cubins, copies=residency.copies, spare=residency.total)
        case.upload(inputs)
        case.poison()
        case.launch()
        case.wait()
        want = expected(task.stages, inputs | case.outputs(0))
        _require(case, want, 0, "the first run")
        with CardWatch(runner.uuid, before=runner.processes_before) as watch:
            timer = Timer(runner, case, residency, watch)
            course = Course(case, timer, watch, task.rule, inputs={}, want=want, ask=partial(call_reference, plan))
            course.isolated()
            course.amortised()
            found = {"alone": course.series["isolated"].samples, "graph": course.series["amortised"].samples}
            with timer.graph() as graph:
                groups = graph.groups
                plain = Graph(partial(_enqueue, case, groups.count), groups, graph.seconds)
                take = partial(timer.replays, plain)
                rule = replace(task.rule, minimum=min(task.rule.minimum, 24), warmup_launches=6)
                series = collect_steadily(take, rule, course.start, look=watch.read)
                found["plain"] = tuple(one for batch in series.batches if not batch.discarded for one in batch.samples)
                _require(case, want, timer.last, "plain launches")
                found["hosted"] = _hosted(timer, plain)
                _require(case, want, timer.last, "plain launches as the host enqueues them")
    if course.after is None or not course.after.passed:
        raise ValueError(f"{plan.kernel}: {course.after and course.after.failure}")
    damage = undamaged(case, residency.rotations, course.after)
    if not damage.passed:
        raise ValueError(f"{plan.kernel}: {damage.failure}")
    modes = {name: median_of(samples) for name, samples in found.items()}
    medians: dict[Mode, float] = {"isolated": modes["alone"]["median"], "amortised": modes["graph"]["median"]}
    cold, why = label_cold(plan, groups.displaces(residency), medians, task.memory_bandwidth)
    return {
        "modes": modes,
        "launches": {name: median_of(one.samples) for name, one in course.launches.items()},
        "groups": groups.count,
        "copies": residency.rotations,
        "cold": cold,
        "notes": [*course.notes, *series.notes, *([why] if why else [])],
        "ratio": course.after.ratio,
    }


def _enqueue(case: DeviceCase, groups: int) -> None:
    for turn in range(groups):
        case.launch(turn)


def _hosted(timer: Timer, plain: Graph) -> tuple[float, ...]:
    """Samples of the groups between two events while the host enqueues them."""
    chunks, found = timer.chunks(plain), []
    for _ in range(HOSTED):
        chunks.enqueue(1)
        begin, end = chunks.wait()
        found.append((end - begin) / plain.groups.count)
    return tuple(found)


def _require(case: DeviceCase, want: dict[str, Array], rotation: int, what: str) -> None:
    found = judged(case, want, rotation)
    if not found.passed:
        raise ValueError(f"{case.plan.kernel}: {what}: {found.failure}")
