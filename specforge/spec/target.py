"""Targets: metric, bound and the cases they hold for, read against the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail, suggest
from specforge.expressions import ExpressionError
from specforge.spec.document import Document, Location
from specforge.spec.interface import Kernel, check_names, expression_diagnostic
from specforge.spec.metrics import METRICS, Metric
from specforge.spec.peers import declared_peers
from specforge.spec.sweep import Case
from specforge.spec.timing import Timing
from specforge.spec.workload import Baseline, TargetSection
from specforge.units import QuantityError, format_quantity, parse_quantity

Comparison = Literal["at_most", "at_least", "equals"]


@dataclass(frozen=True, slots=True)
class Target:
    """One target, bound to its cases. `bound` and `baseline` are in the metric's base unit."""

    benchmark: str
    metric: Metric
    comparison: Comparison
    bound: float
    when: str | None
    level: Literal["required", "warn", "record"]
    baseline: tuple[float, str] | None
    known_miss: tuple[str, date] | None
    cases: tuple[str, ...]
    """Ids of the cases it holds for."""
    position: Position
    peer: str | None = None
    """What a speedup is taken over."""

    @property
    def value_key(self) -> str:
        """The key of its value in evidence: the metric's name, with the peer's where it has one."""
        return value_key(self.metric.name, self.peer)

    @property
    def id(self) -> str:
        """Stable name within a spec."""
        return f"{self.benchmark}: {self.text}"

    @property
    def text(self) -> str:
        """The target as a person says it."""
        sign = {"at_most": "<=", "at_least": ">=", "equals": "=="}[self.comparison]
        condition = f" when {self.when}" if self.when else ""
        over = f" over {self.peer}" if self.peer else ""
        return f"{self.metric.name} {sign} {format_quantity(self.bound, self.metric.unit)}{over}{condition}"


def value_key(metric: str, peer: str | None) -> str:
    """`speedup[torch_sdpa]`, or the metric's name where there is no peer to it."""
    return metric if peer is None else f"{metric}[{peer}]"


def metric_of(key: str) -> Metric:
    """The metric of a key that `value_key` made."""
    return METRICS[key.partition("[")[0]]


def resolve_target(
    section: TargetSection,
    benchmark: str,
    cases: Sequence[Case],
    document: Document,
    location: Location,
    *,
    shared: bool,
) -> Target:
    """Check a target and bind it to its cases; `shared` targets (of a workload) must not need a particular card."""
    metric = METRICS.get(section.metric)
    if metric is None:
        raise fail(
            "SF402",
            "no such metric",
            document.at((*location, "metric")),
            value=section.metric,
            hint=suggest(section.metric, METRICS),
        )
    if shared and metric.scope == "device":
        raise fail(
            "SF410",
            f"{metric.name} is an absolute figure of one card; a workload is shared by every card",
            document.at((*location, "metric")),
            value=metric.name,
            hint="move this target into the spec of the card, under `targets:`",
        )
    kernel_case = any(case.kernel is not None for case in cases)
    if cases and (metric.name == "decode_throughput") == kernel_case:
        owner = "a decode step" if metric.name == "decode_throughput" else "a kernel"
        raise fail(
            "SF410",
            f"{metric.name} is a metric of {owner}, not of benchmark {benchmark!r}",
            document.at((*location, "metric")),
            value=metric.name,
        )
    comparison: Comparison = (
        "at_most" if section.at_most is not None else "at_least" if section.at_least is not None else "equals"
    )
    at_bound = document.at((*location, comparison))
    if comparison == "equals":
        if metric.scope != "static":
            raise fail(
                "SF410",
                f"{metric.name} is measured; only a static figure can equal a number",
                at_bound,
                hint="use at_most or at_least",
            )
    elif (comparison == "at_most") != (metric.better == "lower"):
        good = "at_most" if metric.better == "lower" else "at_least"
        raise fail(
            "SF410",
            f"for {metric.name}, {metric.better} is better: bound it with {good}",
            at_bound,
            hint=f"write `{good}:`",
        )
    bound = _bound(getattr(section, comparison), metric, at_bound)
    if bound < 0 or (metric.unit == "%" and bound > 1):
        limit = "between 0 % and 100 %" if metric.unit == "%" else "not below zero"
        raise fail("SF410", f"{metric.name} is always {limit}", at_bound, value=getattr(section, comparison))
    baseline = (
        _baseline(section.baseline, metric, document.at((*location, "baseline", "value"))) if section.baseline else None
    )
    selected = _select(section, benchmark, cases, document, location)
    known = (section.known_miss.reason, section.known_miss.until) if section.known_miss else None
    when = section.when.text if section.when else None
    where, peer = document.at(location), _peer(section, metric, cases, document, location)
    return Target(benchmark, metric, comparison, bound, when, section.level, baseline, known, selected, where, peer)


def check_decidable(target: Target, kernel: Kernel | None, timing: Timing, document: Document) -> None:
    """Refuse a target that no run could decide, for what the kernel declares or how it is timed; raises SF410."""
    metric, where = target.metric, target.position
    if kernel is not None and metric.name == "specialised" and kernel.file.specialised is None:
        hint = f"add `specialised: FORMULA` over its parameters to {kernel.document.path}"
        raise fail("SF410", f"{kernel.identity} does not say which cases hit a fast variant", where, hint=hint)
    if kernel is None or metric.mode is None:
        return
    if metric.name == "tokens_per_joule" and kernel.file.work.tokens is None:
        hint = f"add `tokens: FORMULA` to `work` in {kernel.document.path}"
        raise fail("SF410", f"{kernel.identity} does not say how many tokens a launch serves", where, hint=hint)
    if metric.mode == "overlapped" and not kernel.file.chain:
        hint = "its launch groups do not feed one another, so nothing may overlap; bound amortised_latency"
        raise fail("SF410", f"{kernel.identity} declares no `chain`", where, value=metric.name, hint=hint)
    if metric.mode not in timing.modes_of(chained=True):
        hint = f"add {metric.mode} to the `modes` of `timing`"
        raise fail("SF410", f"{target.benchmark} is not timed {metric.mode}", where, value=metric.name, hint=hint)


def _bound(value: str | int | float, metric: Metric, position: Position) -> float:
    if metric.unit == "1":
        if isinstance(value, str):
            raise fail("SF205", f"{metric.name} is a plain number", position, value=value)
        return float(value)
    if value == 0 and not isinstance(value, str):
        return 0.0
    if not isinstance(value, str):
        raise fail(
            "SF205",
            f"{metric.name} needs a unit ({metric.unit})",
            position,
            value=value,
            hint=f"write it like {format_quantity(float(value), metric.unit)!r}",
        )
    try:
        return parse_quantity(value, metric.unit)
    except QuantityError as error:
        raise fail("SF205", str(error), position) from None


def _baseline(section: Baseline, metric: Metric, position: Position) -> tuple[float, str]:
    return _bound(section.value, metric, position), section.source


def _peer(
    section: TargetSection, metric: Metric, cases: Sequence[Case], document: Document, location: Location
) -> str | None:
    """The peer that a target names; raises SF413 where it is not one of the kernel's, is missing, or is not due."""
    if section.peer is not None and not metric.peer:
        ratios = [name for name, other in METRICS.items() if other.peer]
        hint = f"{' and '.join(ratios)} are taken over a peer"
        where = document.at((*location, "peer"))
        raise fail("SF413", f"{metric.name} is no ratio to a peer", where, value=section.peer, hint=hint)
    kernel = cases[0].kernel if cases else None
    if kernel is None or not metric.peer:
        return section.peer
    known = declared_peers(kernel.peers) if kernel.peers is not None else {}
    if not known:
        hint = f"add `peers: peers.py` to {kernel.document.path}, and that file beside it"
        raise fail("SF413", f"{kernel.identity} has no peers to be faster than", document.at(location), hint=hint)
    if section.peer is None:
        hint = f"add `peer:`; {kernel.identity} has: {', '.join(known)}"
        raise fail("SF413", f"{metric.name} is taken over a peer, and none is named", document.at(location), hint=hint)
    if section.peer not in known:
        where, hint = document.at((*location, "peer")), suggest(section.peer, known)
        raise fail("SF413", f"{kernel.identity} has no peer of that name", where, value=section.peer, hint=hint)
    return section.peer


def _select(
    section: TargetSection, benchmark: str, cases: Sequence[Case], document: Document, location: Location
) -> tuple[str, ...]:
    if section.when is None or not cases:
        return tuple(case.id for case in cases)
    problems: list[Diagnostic] = list(check_names(section.when, cases[0].parameters, document, (*location, "when")))
    if problems:
        raise SpecForgeError(*problems)
    try:
        selected = tuple(case.id for case in cases if section.when.truth(case.parameters))
    except ExpressionError as error:
        raise SpecForgeError(expression_diagnostic(error, document, (*location, "when"))) from None
    if not selected:
        raise fail(
            "SF408",
            f"this target selects none of the {len(cases)} cases of {benchmark!r}",
            document.at((*location, "when")),
            value=section.when.text,
            hint="correct its condition, or sweep the values that it names",
        )
    return selected
