"""Measuring one case on a card: check it, time it, check it again, and keep everything that was seen."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from specforge.backend.cuda import QUEUE, CudaRunner
from specforge.backend.runner import Runner
from specforge.backend.telemetry import CardWatch, Telemetry
from specforge.measure.floor import least_seconds
from specforge.measure.measurement import Measurement
from specforge.measure.residency import DoesNotFit, Residency, plan_residency
from specforge.measure.samples import estimate_median
from specforge.measure.timing import StopRule, collect
from specforge.spec.geometry import Plan
from specforge.verify.compare import judge
from specforge.verify.example import Example, ExampleResult, draw_inputs
from specforge.verify.reference import call_reference

if TYPE_CHECKING:
    import numpy as np

    from specforge.backend.device_case import DeviceCase

EMPTY_SAMPLES = 50
FRESH_BYTES = 64 << 20
"""Hot inputs up to this size together get new values between the first check and the timing."""
_FRESH = 0x5EED
"""Added to the seed for those new values."""


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """What `measure_case` needs. Rates are the running card's, per second; None where nobody knows the card."""

    plan: Plan
    binary: str
    binary_sha256: str
    example: Example
    memory_bandwidth: float | None
    arithmetic_rate: float | None
    rule: StopRule = field(default_factory=StopRule)


def measure_case(runner: Runner, task: MeasureTask) -> Measurement:
    """Verify a case on the card, time it, verify what a timed launch wrote; a task for a worker.

    One binary, one launch configuration and one set of buffers serve all three. Hot inputs change their values after
    the first check, so that a result remembered from it is wrong later. Nothing is timed where the first check fails
    or the memory is short; the Measurement says so. Raises KernelFault, ValueError where the binary is not the one
    that was built, TypeError for a runner that is no card.
    """
    if not isinstance(runner, CudaRunner):
        raise TypeError(f"{runner.name} measures nothing: its times are not a kernel's")
    found = hashlib.sha256(Path(task.binary).read_bytes()).hexdigest()
    if found != task.binary_sha256:
        raise ValueError(f"{task.binary} has SHA-256 {found}, not {task.binary_sha256} as when it was built")
    begin = time.monotonic()
    result = _measure(runner, task)
    return result.lasting(time.monotonic() - begin)


def _measure(runner: CudaRunner, task: MeasureTask) -> Measurement:
    plan = task.plan
    seen = Measurement(runner.name, runner.uuid, task.binary_sha256)
    try:
        residency = plan_residency(plan, runner.l2_bytes, runner.available_bytes())
    except DoesNotFit as error:
        return seen.refused(str(error))
    seen = seen.placed(residency.copies, residency.cold_bytes, residency.scrub_bytes, residency.rotated_bytes)
    case = runner.prepare(
        plan, task.binary, offset=task.example.offset, copies=residency.copies, spare=residency.spare_bytes
    )
    inputs = draw_inputs(plan, task.example)
    case.upload(inputs)
    case.poison()
    case.launch()
    case.wait()
    want = call_reference(plan, inputs)
    before = _check(case, want, 0, rotations=1)
    if not before.passed:
        return seen.checked(before, None).refused("not timed: the result is wrong")

    fresh = [buffer.name for buffer in plan.buffers if buffer.role == "in" and buffer.residency == "hot"]
    if fresh and sum(inputs[name].nbytes for name in fresh) <= FRESH_BYTES:
        changed = draw_inputs(plan, replace(task.example, seed=task.example.seed + _FRESH), fresh)
        case.replace(changed)
        want = call_reference(plan, inputs | changed)
    del inputs
    runner.reset_persisting_l2()
    with CardWatch(runner.uuid) as watch:
        telemetry = [watch.read()]
        empty = _time_empty(runner)
        timer = _Timer(runner, case, residency)

        def take(count: int) -> list[float]:
            seconds = timer.batch(min(count, size))
            telemetry.append(watch.read())
            return seconds

        size = max(1, min(task.rule.batch, QUEUE // (3 + len(plan.launches))))
        collected = collect(take, task.rule)
    after = _check(case, want, timer.last, rotations=residency.rotations)
    median = estimate_median(collected.samples)
    floor = None
    if task.memory_bandwidth is not None and task.arithmetic_rate is not None:
        floor = least_seconds(plan, task.memory_bandwidth, task.arithmetic_rate)
    converged = task.rule.converged(median.precision)
    seen = seen.checked(before, after).timed(collected, median, converged, empty, floor)
    return seen.observed(telemetry[0], telemetry[-1], _throttled(telemetry))


class _Timer:
    """Takes batches, rotating on from where the last one ended; poisons what launches write before each batch."""

    def __init__(self, runner: CudaRunner, case: DeviceCase, residency: Residency) -> None:
        self._runner = runner
        self._case = case
        self._residency = residency
        self.last = 0

    def batch(self, count: int) -> list[float]:
        """Seconds of `count` launches; the last one's rotation is `last` afterwards."""
        case, scrub = self._case, self._residency.scrub_bytes
        first = self.last + 1
        case.poison()
        works = [lambda turn=turn: case.launch(turn) for turn in range(first, first + count)]
        ahead = (lambda number: case.scrub(scrub, first + number)) if scrub else None
        seconds = self._runner.time(works, ahead)
        self.last += count
        return seconds


def _check(case: DeviceCase, want: dict[str, np.ndarray], rotation: int, rotations: int) -> ExampleResult:
    errors = judge(case.plan, case.outputs(rotation), want)
    violations = case.violations(rotations)
    if violations:
        return ExampleResult("violation", "; ".join(violations), errors)
    wrong = [error for error in errors if not error.passed]
    return ExampleResult("wrong" if wrong else "ok", "; ".join(map(str, wrong)) or None, errors)


def _time_empty(runner: CudaRunner) -> float:
    runner.launch_empty()
    runner.wait()
    return estimate_median(runner.time([runner.launch_empty] * EMPTY_SAMPLES)).value


def _throttled(telemetry: list[Telemetry]) -> tuple[str, ...]:
    return tuple(sorted({reason for moment in telemetry for reason in moment.throttled}))
