"""Measuring one case on a card: check it, time it, check it again, and keep everything that was seen."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from specforge.backend.cuda import CudaRunner
from specforge.backend.runner import Runner
from specforge.backend.telemetry import CardWatch
from specforge.measure.answers import answer, fresh_values, recall
from specforge.measure.course import Course, judged
from specforge.measure.measurement import Measurement
from specforge.measure.owed import Owed, Timed
from specforge.measure.residency import DoesNotFit, label_cold, plan_residency
from specforge.measure.series import Mode
from specforge.measure.stopping import StopRule
from specforge.measure.timer import Timer
from specforge.spec.geometry import Plan
from specforge.verify.example import Example, ExampleResult, draw_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from specforge.backend.device_case import DeviceCase
    from specforge.verify.compare import Array

    Ask = Callable[[dict[str, Array]], dict[str, Array] | None]

NICE = 10
"""By which a process's share of a busy processor is about a tenth of another's."""


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """What `measure_case` needs."""

    plan: Plan
    binary: str
    binary_sha256: str
    example: Example
    memory_bandwidth: float | None
    """The most that the running card's memory gives, in bytes per second; None where nobody knows."""
    modes: tuple[Mode, ...] = ("isolated", "amortised")
    rule: StopRule = field(default_factory=StopRule)
    """For each mode."""
    energy: float = 0.0
    """Seconds of work to count joules over, besides the timing; 0: none."""
    groups: Mapping[Mode, int] = field(default_factory=dict)
    """Launch groups in a mode's graph, as an earlier process chose them: chains then end in the same values, whose
    answers are at hand. Where none is given, this one chooses."""
    answers: str | None = None
    """A folder that keeps references' answers for other processes; None: they are computed here."""

    def ask(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """What the reference says to these inputs; see `answer`."""
        return answer(self.plan, self.example, self.answers, inputs)

    def recall(self, inputs: dict[str, Array]) -> dict[str, Array] | None:
        """The same where the folder has it, else None; see `recall`."""
        return recall(self.plan, self.example, self.answers, inputs)


def work_ahead(_: Runner, payload: tuple[MeasureTask, bool]) -> None:
    """Leave an answer in the task's folder, of the first inputs or the fresh ones; a task for a worker without a card.

    Those are the two that measuring a case asks for whatever the kernel does.
    """
    stand_back()
    task, fresh = payload
    inputs = draw_inputs(task.plan, task.example)
    task.ask(inputs | fresh_values(task.plan, task.example) if fresh else inputs)


def stand_back() -> None:
    """Leave the processor to whoever else wants it: what is done ahead is not waited for yet.

    Each worker is a session of its own. Where Linux groups processes by session, only the group's niceness counts.
    """
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with suppress(OSError):  # no such groups here, or changed a moment ago
        Path("/proc/self/autogroup").write_text(str(NICE))


def settle(_: Runner, payload: tuple[MeasureTask, Owed]) -> ExampleResult:
    """Make a check that timing left owed; a task for a worker, which uses no card."""
    task, owed = payload
    inputs = draw_inputs(task.plan, task.example) | fresh_values(task.plan, task.example) | owed.given
    return owed.settled(task.plan, task.ask(inputs))


def measure_case(runner: Runner, task: MeasureTask) -> Measurement:
    """As `time_case`, with nothing owed: the reference is asked whenever it is due."""
    return _timed(runner, task, task.ask).settled(())


def time_case(runner: Runner, task: MeasureTask) -> Timed:
    """Verify a case on the card, time it, verify what timed launches of every mode wrote; a task for a worker.

    Checks whose answers the task's folder does not hold, of what a chain or an updated tensor came to, are owed.

    One binary, one launch configuration and one set of buffers serve all of it. Hot inputs change their values after
    the first check, so that a result remembered from it is wrong later. Nothing is timed where the first check fails
    or the memory is short; the Measurement says so. Raises KernelFault, ValueError where the binary is not the one
    that was built, TypeError for a runner that is no card.
    """
    return _timed(runner, task, task.recall)


def _timed(runner: Runner, task: MeasureTask, ask: Ask) -> Timed:
    if not isinstance(runner, CudaRunner):
        raise TypeError(f"{runner.name} measures nothing: its times are not a kernel's")
    found = hashlib.sha256(Path(task.binary).read_bytes()).hexdigest()
    if found != task.binary_sha256:
        raise ValueError(f"{task.binary} has SHA-256 {found}, not {task.binary_sha256} as when it was built")
    begin = time.monotonic()
    with runner.without_persisting_l2():
        timed = _measure(runner, task, ask)
    return replace(timed, measurement=replace(timed.measurement, seconds=time.monotonic() - begin))


def _measure(runner: CudaRunner, task: MeasureTask, ask: Ask) -> Timed:
    plan = task.plan
    seen = Measurement(runner.name, runner.uuid, task.binary_sha256)
    overlaps = "overlapped" in task.modes and bool(plan.chain) and runner.overlaps
    if "overlapped" in task.modes and plan.chain and not overlaps:
        seen = seen.noted(f"not overlapped: {runner.name} knows no dependent launches")
    try:
        residency = plan_residency(plan, runner.l2_bytes, runner.available_bytes(), linked=overlaps)
    except DoesNotFit as error:
        return Timed(seen.refused(str(error)))
    seen = replace(
        seen, copies=residency.copies, cold_bytes=residency.cold_bytes, rotated_bytes=residency.rotated_bytes
    )
    case = runner.prepare(plan, task.binary, offset=task.example.offset, copies=residency.copies, spare=residency.total)
    inputs = draw_inputs(plan, task.example)
    case.upload(inputs)
    case.poison()
    case.launch()
    case.wait()
    want = task.ask(inputs)
    before = undamaged(case, 1, judged(case, want, 0))
    seen = replace(seen, before=before)
    if not before.passed:
        return Timed(seen.refused("not timed: the result is wrong"))

    if freshen(case, task, inputs):
        want = task.ask(inputs)
    with CardWatch(runner.uuid, before=runner.processes_before) as watch:
        timer = Timer(runner, case, residency, watch)
        kept = inputs if overlaps or plan.updated else {}  # the reference is asked again
        course = Course(case, timer, watch, task.rule, inputs=kept, want=want, ask=ask, groups=task.groups)
        seen = replace(seen, telemetry=course.start)
        del inputs, kept
        for mode in task.modes:
            if mode == "isolated":
                course.isolated()
            elif mode == "amortised":
                course.amortised(task.energy)
            elif overlaps:
                course.overlapped()
    displaced = residency.rotated_bytes >= residency.total and course.displaced
    medians = {mode: series.median.value for mode, series in course.series.items() if series.samples}
    label, why = label_cold(plan, displaced, medians, task.memory_bandwidth)
    seen = replace(seen, series={**course.series}, launches=course.launches, cold=label, energy=course.energy)
    seen = seen.noted(*course.notes, *([why] if why else []))
    if course.after is None:
        return Timed(seen.refused("not timed: none of the modes asked for applies"), owed=tuple(course.owed))
    return Timed(seen, undamaged(case, residency.rotations, course.after), tuple(course.owed))


def freshen(case: DeviceCase, task: MeasureTask, inputs: dict[str, Array]) -> bool:
    """Change the values of hot inputs, on the card and in `inputs`; False where there are none, or too large ones."""
    changed = fresh_values(task.plan, task.example)
    case.replace(changed)
    inputs |= changed
    return bool(changed)


def undamaged(case: DeviceCase, rotations: int, found: ExampleResult) -> ExampleResult:
    """What was found, unless memory was changed that is not the kernel's."""
    violations = case.violations(rotations)
    return ExampleResult("violation", "; ".join(violations), found.errors) if violations else found
