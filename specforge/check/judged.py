"""From targets and verdicts to their entries in the record."""

from __future__ import annotations

from specforge.judge.verdict import Judgement
from specforge.record.model import JudgementEntry, TargetEntry
from specforge.spec.target import Target


def target_entry(target: Target) -> TargetEntry:
    """A target as a record holds it."""
    return TargetEntry(
        id=target.id,
        benchmark=target.benchmark,
        metric=target.metric.name,
        unit=target.metric.unit,
        comparison=target.comparison,
        bound=target.bound,
        when=target.when,
        level=target.level,
        baseline=target.baseline[0] if target.baseline else None,
        baseline_source=target.baseline[1] if target.baseline else None,
        known_miss=target.known_miss[0] if target.known_miss else None,
        known_miss_until=target.known_miss[1].isoformat() if target.known_miss else None,
        cases=list(target.cases),
        file=str(target.position.file),
        line=target.position.line,
        column=target.position.column,
        stage=target.metric.stage,
        peer=target.peer,
    )


def judgement_entry(judgement: Judgement) -> JudgementEntry:
    """A verdict as a record holds it."""
    return JudgementEntry(
        target=judgement.target,
        case=judgement.case,
        verdict=judgement.verdict.value,
        value=judgement.value,
        margin=judgement.margin,
        reason=judgement.reason,
        infrastructure=judgement.infrastructure,
    )
