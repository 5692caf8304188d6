"""What tuning one case came to, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from specforge.measure.compare import Comparison
from specforge.spec.sweep import Case
from specforge.tune.bench import Failure
from specforge.tune.race import Decision
from specforge.tune.space import Configuration, Space
from specforge.verify.example import Example

SHOWN = 3
"""Configurations that failed alike are named so far and then counted."""


@dataclass(frozen=True, slots=True)
class Result:
    """One case's outcome; without a decision, `reason` says why there is none."""

    case: Case
    space: Space
    decision: Decision | None
    reason: str = ""
    failures: dict[Configuration, Failure] = field(default_factory=dict)

    @property
    def wrong(self) -> dict[Configuration, str]:
        """Configurations that change the result or crash: faults of the kernel."""
        return {one: failure.reason for one, failure in self.failures.items() if failure.kind == "wrong"}


def lines(result: Result, metric: str, spec: str, backend: str) -> Iterator[str]:
    """A case's paragraph."""
    decision, case = result.decision, result.case
    yield f"{case.id}: {metric}"
    if decision is None:
        yield f"  not tuned: {result.reason}"
    else:
        yield from _times(decision)
        yield f"  {_conclusion(decision)}"
        how = "all" if decision.tried >= result.space.size else f"of {result.space.size}"
        yield f"  {decision.tried} configurations timed, {how}"
    for kind, said in (("refused", "cannot be launched or built"), ("trouble", "could not be timed")):
        found = {one: failure for one, failure in result.failures.items() if failure.kind == kind}
        if found:
            first = next(iter(found.items()))
            yield f"  {len(found)} {said}, such as {shown(first[0])}: {first[1].reason}"
    assert case.kernel is not None
    for number, (one, reason) in enumerate(result.wrong.items()):
        if number == SHOWN:
            yield f"  ... and {len(result.wrong) - SHOWN} more are wrong"
            break
        example = Example(dict(case.parameters), dict(one))
        yield f"  WRONG {shown(one)}: {reason}"
        yield f"    a tunable never changes the result: {example.command(spec, case.kernel.identity, backend)}"


def shown(one: Configuration) -> str:
    """A configuration as a reader sees it."""
    return ", ".join(f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in one)


def _times(decision: Decision) -> Iterator[str]:
    rows = {"default": decision.default, "before": decision.previous, "now": decision.winner}
    width = max(len(shown(one)) for one in rows.values() if one is not None)
    for name, one in rows.items():
        if one is not None:
            found = decision.times.get(one)
            time = "not timed" if found is None else _span(found.value, found.low, found.high)
            yield f"  {name:<7}  {shown(one):<{width}}  {time}"


def _conclusion(decision: Decision) -> str:
    before, now = decision.previous, decision.winner
    gain = "no configuration is faster than the default by more than chance"
    if decision.against_default is not None:
        gain = f"{_ratio(decision.against_default)} of the default's time"
    if before is None:
        return f"new: {gain}"
    if before == now:
        return f"kept: {gain}"
    against = f"; {_ratio(decision.against_previous)} of the time before" if decision.against_previous else ""
    return f"changed: {gain}{against}"


def _ratio(change: Comparison) -> str:
    return f"{change.ratio:.4f} [{change.low:.4f}, {change.high:.4f}]"


def _span(value: float, low: float, high: float) -> str:
    return f"{value * 1e6:.2f} us [{low * 1e6:.2f}, {high * 1e6:.2f}]"
