"""Verdicts, exit statuses, and the rules that turn evidence into them. Pure functions; nothing here runs a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum, StrEnum

from specforge.spec.metrics import STAGES, Stage
from specforge.spec.target import Target


class Verdict(StrEnum):
    """What can be said of one target in one case."""

    MET = "met"
    MISSED = "missed"
    WRONG = "wrong"
    IMPLAUSIBLE = "implausible"
    INCONCLUSIVE = "inconclusive"
    UNMEASURED = "unmeasured"
    ERROR = "error"
    SKIPPED = "skipped"
    KNOWN_MISS = "known_miss"
    UNEXPECTED_MET = "unexpected_met"


MEANINGS: dict[Verdict, str] = {
    Verdict.MET: "the bound holds; and the result was verified, in a run that went as far as `verify`",
    Verdict.MISSED: "the bound does not hold",
    Verdict.WRONG: "the kernel's result is wrong, so nothing else about it counts",
    Verdict.IMPLAUSIBLE: "faster than the roofline allows: the measurement or the kernel cheats",
    Verdict.INCONCLUSIVE: "the samples do not settle on which side of the bound the value lies",
    Verdict.UNMEASURED: "no value was obtained; the reason says what would give one",
    Verdict.ERROR: "running it failed: illegal access, deadlock, hang, or trouble with the machine",
    Verdict.SKIPPED: "not requested in this run (--until, --only)",
    Verdict.KNOWN_MISS: "missed, or wrong and waived, as the spec or kernel says it would be until a date to come",
    Verdict.UNEXPECTED_MET: "met although the spec expects a miss: promote the target",
}


class Status(IntEnum):
    """Exit status of the command line. Where several apply, the first in `PRECEDENCE` wins."""

    MET = 0
    MISSED = 1
    INVALID = 2
    WRONG = 3
    UNDECIDED = 4
    EMPTY = 5


STATUS_MEANINGS: dict[Status, str] = {
    Status.INVALID: "bad command line, spec, template or reference; a template that does not compile included",
    Status.WRONG: "wrong or implausible result; illegal access, deadlock or hang of a kernel",
    Status.MISSED: "a required target was missed, or a cell is slower than in the record of --against",
    Status.UNDECIDED: "undecided: a required target is unmeasured or inconclusive, or the machine got in the way",
    Status.EMPTY: "nothing was selected",
    Status.MET: "every required target that this run was asked to decide is met",
}
PRECEDENCE: tuple[Status, ...] = tuple(STATUS_MEANINGS)


@dataclass(frozen=True, slots=True)
class Value:
    """A metric's value in base units; `low` and `high` bound it where it was sampled."""

    value: float
    low: float | None = None
    high: float | None = None
    doubt: str | None = None
    """Why the interval is wider than was asked for."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that one run learned about one case.

    `wrong`, `implausible`, `fault` (of the kernel) and `trouble` (of the machine) are sentences, or None.
    `values` and `missing` go by metric name, a speedup's with its peer: `speedup[torch_sdpa]`; `missing` says why a
    value is not there (`*`: any).
    """

    case: str
    verified: bool = False
    wrong: str | None = None
    implausible: str | None = None
    fault: str | None = None
    trouble: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    waived: str | None = None
    """Why wrong values of this case are accepted for a while; nothing about it is met until then."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One target in one case. `margin` is the distance to the bound on the good side, relative to the bound."""

    target: str
    case: str
    metric: str
    level: str
    verdict: Verdict
    value: float | None
    bound: float
    margin: float | None
    reason: str
    infrastructure: bool = False


def judge(targets: Iterable[Target], evidence: Mapping[str, Evidence], *, until: Stage, today: date) -> list[Judgement]:
    """Judge every target in each of its cases; a case without evidence is unmeasured, never passed over."""
    return [
        _judge_case(target, evidence.get(case, Evidence(case, missing={"*": "the case was not run"})), until, today)
        for target in targets
        for case in target.cases
    ]


def _judge_case(target: Target, evidence: Evidence, until: Stage, today: date) -> Judgement:
    metric = target.metric
    value = evidence.values.get(target.value_key)

    def give(verdict: Verdict, reason: str, *, infrastructure: bool = False) -> Judgement:
        margin = _margin(target, value.value) if value is not None else None
        shown = value.value if value is not None else None
        return Judgement(
            target.id,
            evidence.case,
            metric.name,
            target.level,
            verdict,
            shown,
            target.bound,
            margin,
            reason,
            infrastructure,
        )

    if STAGES.index(metric.stage) > STAGES.index(until):
        return give(Verdict.SKIPPED, f"not requested: decided by `{metric.stage}`, this run ends with `{until}`")
    if evidence.wrong is not None:
        return give(Verdict.WRONG, evidence.wrong)
    if evidence.fault is not None:
        return give(Verdict.ERROR, evidence.fault)
    if evidence.implausible is not None and metric.stage == "measure":
        return give(Verdict.IMPLAUSIBLE, evidence.implausible)
    if evidence.trouble is not None and value is None:
        return give(Verdict.ERROR, evidence.trouble, infrastructure=True)
    if value is None and evidence.waived is not None and evidence.missing.get("*") == evidence.waived:
        return give(Verdict.KNOWN_MISS, evidence.waived)  # not timed, as its result is wrong
    if value is None:
        return give(
            Verdict.UNMEASURED,
            evidence.missing.get(target.value_key)
            or evidence.missing.get(metric.name)
            or evidence.missing.get("*")
            or "no value was obtained",
        )
    needs_proof = STAGES.index(until) >= STAGES.index("verify")
    if needs_proof and not evidence.verified:
        return give(Verdict.UNMEASURED, evidence.missing.get("*") or "the case's result was not verified")
    verdict, reason = _compare(target, value, today)
    if evidence.waived is not None and verdict in (Verdict.MET, Verdict.UNEXPECTED_MET):
        return give(Verdict.KNOWN_MISS, evidence.waived)
    return give(verdict, reason)


def _compare(target: Target, value: Value, today: date) -> tuple[Verdict, str]:
    low = value.value if value.low is None else value.low
    high = value.value if value.high is None else value.high
    sides = {_holds(target, low), _holds(target, high)}
    if len(sides) == 2 and target.known_miss is not None and today <= target.known_miss[1] and not value.doubt:
        reason, until = target.known_miss  # on whichever side it lies, the run passes
        return Verdict.KNOWN_MISS, f"{reason} (until {until}); the interval of the median straddles the bound by now"
    if len(sides) == 2:
        why = f"; {value.doubt}" if value.doubt else ""
        return Verdict.INCONCLUSIVE, f"the confidence interval of the median straddles the bound{why}"
    met = _holds(target, value.value)
    if target.known_miss is None:
        return (Verdict.MET, "") if met else (Verdict.MISSED, "")
    reason, until = target.known_miss
    if met:
        return Verdict.UNEXPECTED_MET, f"expected to be missed until {until} ({reason}): drop known_miss"
    if today <= until:
        return Verdict.KNOWN_MISS, f"{reason} (until {until})"
    return Verdict.MISSED, f"known_miss ended on {until}: {reason}"


def _holds(target: Target, value: float) -> bool:
    return {"at_most": value <= target.bound, "at_least": value >= target.bound, "equals": value == target.bound}[
        target.comparison
    ]


def _margin(target: Target, value: float) -> float | None:
    if target.bound == 0:
        return None
    above = value - target.bound
    signed = {"at_most": -above, "at_least": above, "equals": -abs(above)}[target.comparison]
    return signed / abs(target.bound) + 0.0  # no minus zero


def status_of(
    judgements: Iterable[Judgement], evidence: Iterable[Evidence], *, selected: bool, undecided: bool = False
) -> Status:
    """The exit status of a run. `undecided`: something other than a target stayed open (a fuzz run cut short)."""
    found: set[Status] = {Status.MET}
    for item in evidence:
        if item.wrong is not None or item.fault is not None or item.implausible is not None:
            found.add(Status.WRONG)
    for judgement in judgements:
        if judgement.verdict in (Verdict.WRONG, Verdict.IMPLAUSIBLE) or (
            judgement.verdict is Verdict.ERROR and not judgement.infrastructure
        ):
            found.add(Status.WRONG)
        elif judgement.level == "required":
            if judgement.verdict is Verdict.MISSED:
                found.add(Status.MISSED)
            elif judgement.verdict in (Verdict.UNMEASURED, Verdict.INCONCLUSIVE, Verdict.ERROR):
                found.add(Status.UNDECIDED)
    if undecided:
        found.add(Status.UNDECIDED)
    if not selected:
        found.add(Status.EMPTY)
    return first_of(found)


def first_of(statuses: Iterable[Status]) -> Status:
    """The status that wins among several; of none, that nothing was selected."""
    present = set(statuses)
    return next((status for status in PRECEDENCE if status in present), Status.EMPTY)
