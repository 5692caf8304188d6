"""From measured times to the metrics that targets bound: values with their intervals, or why there is none."""

from __future__ import annotations

from specforge.check.backends import Choice
from specforge.judge.verdict import Value
from specforge.measure.cell import Cell
from specforge.measure.estimate import Estimate
from specforge.measure.roofline import least_seconds
from specforge.measure.session import Session
from specforge.spec.geometry import Plan
from specforge.spec.metrics import METRICS, Metric
from specforge.spec.timing import MODES, Mode

_RATES = ("bf16_rate", "fp8_rate", "fp4_rate")


def rate_at(metric: str, plan: Plan, choice: Choice, session: Session | None = None) -> float | None:
    """What a metric's value is the quotient of by a time in seconds; None where it is none, or something is unknown."""
    facts = choice.device.names if choice.device is not None else {}
    bandwidth, rate = facts.get("device.memory_bandwidth"), facts.get("device.bf16_rate")
    read = session.calibration.read if session is not None and session.calibration is not None else None
    match metric:
        case "bandwidth" | "amortised_bandwidth":
            return plan.bytes
        case "peak_bandwidth_share" if bandwidth is not None:
            return plan.bytes / float(bandwidth)
        case "roofline_share" if bandwidth is not None and rate is not None:
            return max(plan.bytes / float(bandwidth), plan.flops / float(rate))
        case "achievable_bandwidth_share" if read:
            return plan.bytes / read
    return None


def floors_of(plan: Plan, choice: Choice) -> dict[Mode, float]:
    """By mode, the least seconds that the running card's datasheet allows; empty where no device file knows it."""
    if choice.device is None:
        return {}
    facts = choice.device.names
    fastest = max(float(facts[f"device.{name}"]) for name in _RATES if facts.get(f"device.{name}"))
    bandwidth = float(facts["device.memory_bandwidth"])
    return {mode: least_seconds(plan, bandwidth, fastest, mode) for mode in MODES}


def measured_values(
    plan: Plan, cell: Cell, choice: Choice, session: Session | None
) -> tuple[dict[str, Value], dict[str, str]]:
    """Metrics that follow from a cell's times and joules, and by name why one does not.

    Absolute ones only on the spec's own card. A cell that was to be cold and is not proven so has none at all.
    """
    values: dict[str, Value] = {}
    missing: dict[str, str] = {}
    if cell.cold == "unproven":
        reason = next((note for note in cell.notes if note.startswith("cold is unproven")), "cold is unproven")
        return {}, {metric.name: reason for metric in METRICS.values() if metric.mode is not None}
    for metric in METRICS.values():
        if metric.mode is None or metric.peer or (metric.scope == "device" and not choice.matches):
            continue
        if metric.name in ("energy", "tokens_per_joule"):
            found = _joules(metric.name, plan, cell)
        else:
            found = _timed(metric, plan, cell, choice, session)
        if isinstance(found, Value):
            values[metric.name] = found
        else:
            missing[metric.name] = found
    return values, missing


def _timed(metric: Metric, plan: Plan, cell: Cell, choice: Choice, session: Session | None) -> Value | str:
    mode = metric.mode
    assert mode is not None
    found = cell.estimate(mode)
    if found is None:
        return _untimed(mode, plan, cell)
    doubt = cell.doubt(mode)
    if metric.unit == "s":
        return Value(found.value, found.low, found.high, doubt)
    rate = rate_at(metric.name, plan, choice, session)
    if rate is not None and found.low <= 0:
        return f"the interval of the {mode} time reaches down to zero: {doubt or 'its processes differ too much'}"
    if rate is not None:
        return Value(rate / found.value, rate / found.high, rate / found.low, doubt)
    if metric.name == "achievable_bandwidth_share":
        missing = session.missing | (session.calibration.missing if session.calibration else {}) if session else {}
        return f"the card was not calibrated: {missing.get('read') or missing.get('calibration') or 'not asked for'}"
    assert choice.card is not None
    return f"no device file knows {choice.card.name}, so there is no peak to take a share of"


def _untimed(mode: Mode, plan: Plan, cell: Cell) -> str:
    if cell.series(mode):
        return f"too few {mode} samples count to bound the median: {cell.doubt(mode) or 'all were discarded'}"
    if mode == "overlapped" and not plan.chain:
        return "the kernel declares no `chain`, so its launch groups cannot overlap"
    said = [note for note in cell.notes if note.startswith(f"not {mode}")]
    return said[0] if said else f"the case was not timed {mode}"


def _joules(name: str, plan: Plan, cell: Cell) -> Value | str:
    found: Estimate | None = cell.energy
    if found is None:
        said = [note for note in cell.notes if note.startswith("no energy")]
        return said[0] if said else "no target asks for energy, so joules were not counted"
    if found.low <= 0:
        return "the joules that the processes counted differ too much to bound them"
    if name == "energy":
        return Value(found.value, found.low, found.high)
    if plan.tokens is None:
        return "kernel.yaml does not say how many tokens a launch serves (`work.tokens`)"
    return Value(plan.tokens / found.value, plan.tokens / found.high, plan.tokens / found.low)
