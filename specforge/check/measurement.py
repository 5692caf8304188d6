"""Measure the selected cases on the card that was chosen: each in a fresh process, none taking the others down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specforge.backend.lock import CardBusy, hold_card
from specforge.backend.runner import KernelFault
from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.backends import Choice
from specforge.check.context import Context
from specforge.check.variants import Variant, variant_of
from specforge.expressions import Scalar
from specforge.kernel.build import Binary
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.measurement import Measurement
from specforge.spec.geometry import Plan
from specforge.spec.sweep import Case
from specforge.verify.example import Example
from specforge.verify.session import describe_crash

SECONDS = 300.0
"""The longest that one case may take, its references on the CPU included."""
WAIT = 60.0
"""How long to wait for a card that another run holds."""


class Trouble(Exception):
    """The machine, not the kernel, kept a case from being measured."""


Outcome = Measurement | KernelFault | Trouble


def measure(
    cases: Sequence[Case],
    plans: Mapping[str, Plan],
    binaries: Mapping[Variant, Binary],
    choice: Choice,
    context: Context,
) -> dict[str, Outcome]:
    """Measure each case; by case id, what was measured or what went wrong."""
    assert choice.card is not None
    context.progress.stage(f"measuring on {choice.name}", len(cases))
    found: dict[str, Outcome] = {}
    try:
        with hold_card(context.settings.state, choice.card.uuid, wait=WAIT):
            for number, case in enumerate(cases, start=1):
                assert case.kernel is not None
                plan = plans[case.id]
                binary = binaries[variant_of(case.kernel, plan.parameters, plan.tunables)]
                found[case.id] = _one(case, plan, binary, choice, context.options.seed)
                context.progress.advance(number, len(cases))
    except CardBusy as busy:
        for case in cases:
            found.setdefault(case.id, Trouble(str(busy)))
    return found


def _one(case: Case, plan: Plan, binary: Binary, choice: Choice, seed: int) -> Outcome:
    facts: Mapping[str, Scalar] = choice.device.names if choice.device is not None else {}
    bandwidth, rate = facts.get("device.memory_bandwidth"), facts.get("device.bf16_rate")
    task = MeasureTask(
        plan,
        str(binary.cubin),
        binary.cubin_sha256,
        Example(dict(case.parameters), seed=seed),
        None if bandwidth is None else float(bandwidth),
        None if rate is None else float(rate),
    )
    try:
        with Worker(choice.runner) as worker:
            return worker.call(measure_case, task, timeout=SECONDS)
    except KernelFault as fault:
        return fault
    except WorkerTimeout as late:
        return KernelFault("hang", str(late))
    except WorkerCrashed as crash:
        return KernelFault("crash", describe_crash(crash.reason, crash.output))
    except TaskFailed as failed:
        return Trouble(failed.summary)
