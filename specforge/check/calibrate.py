"""Calibrating the card that was chosen: shipped kernels, built, verified and timed as any other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from specforge.backend.runner import KernelFault
from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.backends import Choice
from specforge.check.context import Context
from specforge.check.prepare import build_variants, render_all
from specforge.check.variants import variant_of
from specforge.diagnostics import SpecForgeError
from specforge.expressions import Scalar
from specforge.measure.calibration import Calibration, Point, calibration, plan_points, reached
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.measurement import Measurement
from specforge.measure.series import Mode
from specforge.measure.stopping import StopRule
from specforge.roots import shipped
from specforge.spec.geometry import Plan, plan, resolve_tunables
from specforge.spec.interface import find_kernel
from specforge.verify.example import Example

RULE = StopRule(precision=0.02, minimum=20, seconds=1.0)
SECONDS = 60.0
"""The longest that one point may take, its reference on the CPU included."""
STAND_IN: dict[str, Scalar] = {"device.multiprocessors": 128}
"""Chooses how many blocks read and copy on a card that no device file knows; twice as many or half do as well."""


def calibrate(choice: Choice, context: Context) -> Calibration:
    """What the chosen card's memory and mma.sync give in this session. The caller holds the card.

    Never raises for a kernel that fails here: its name is missing then, with the reason.
    """
    assert choice.card is not None
    known = choice.device.names if choice.device is not None else {}
    multiprocessors, l2_bytes = known.get("device.multiprocessors"), known.get("device.l2_capacity")
    points, missing = plan_points(
        None if multiprocessors is None else int(multiprocessors),
        0 if l2_bytes is None else int(l2_bytes),
        choice.card.compute_capability,
    )
    found = measure_points(points, ("amortised",), RULE, choice, context)
    return calibration(
        (
            (point.name, one if isinstance(one, str) else reached(point, _work(point, one[0]), one[1]))
            for point, one in zip(points, found, strict=True)
        ),
        missing,
    )


def read_floor(
    sizes: Sequence[int], modes: tuple[Mode, ...], rule: StopRule, choice: Choice, context: Context
) -> dict[int, Measurement | str]:
    """A plain read of so many bytes each, rounded up to words: no kernel that must read them is faster.

    By size, the measurement in these modes, to be believed where it is `verified`, or why there is none. The caller
    holds the card.
    """
    points = [Point("read", "calibration/read", {"words": max(1, -(-size // 4))}) for size in sizes]
    found = measure_points(points, modes, rule, choice, context)
    return {size: one if isinstance(one, str) else one[1] for size, one in zip(sizes, found, strict=True)}


def measure_points(
    points: Sequence[Point], modes: tuple[Mode, ...], rule: StopRule, choice: Choice, context: Context
) -> list[tuple[Plan, Measurement] | str]:
    """Build and measure each point, all in one process as long as that lives; in a failed one's place the reason."""
    context.progress.stage(f"calibrating {choice.name}", len(points))
    found: list[tuple[Plan, Measurement] | str] = []
    with Worker(choice.runner) as worker:
        for number, point in enumerate(points, start=1):
            try:
                task = _task(point, modes, rule, choice, context)
                found.append((task.plan, worker.call(measure_case, task, timeout=SECONDS)))
            except SpecForgeError as error:
                found.append(error.diagnostics[0].message)
            except TaskFailed as failed:
                found.append(failed.summary)
            except (KernelFault, WorkerTimeout, WorkerCrashed) as fault:
                found.append(f"the calibration kernel failed: {fault}")
            context.progress.advance(number, len(points))
    return found


def _task(point: Point, modes: tuple[Mode, ...], rule: StopRule, choice: Choice, context: Context) -> MeasureTask:
    """The shipped kernel, not one of the user's by its name, built for the running card."""
    assert choice.card is not None
    kernel = find_kernel(point.kernel, (shipped(),))
    device = STAND_IN if choice.device is None else choice.device.names
    tunables = resolve_tunables(kernel, point.parameters, device)
    shape = plan(kernel, point.parameters, tunables)
    variant = variant_of(kernel, point.parameters, tunables)
    capability = choice.card.compute_capability.replace(".", "")
    architecture = f"sm_{capability}" if choice.device is None else choice.device.architecture
    built = build_variants(render_all({variant: shape}), architecture, context.settings, lambda _done, _total: None)
    # A card that no file knows has no figure to hold a read against: that copies were displaced must do.
    bandwidth = float(device.get("device.memory_bandwidth", math.inf))
    return MeasureTask(
        shape,
        str(built[variant].cubin),
        built[variant].cubin_sha256,
        Example(dict(point.parameters), seed=context.options.seed),
        bandwidth,
        modes,
        rule,
    )


def _work(point: Point, shape: Plan) -> float:
    return shape.bytes if point.name in ("read", "copy") else shape.flops
