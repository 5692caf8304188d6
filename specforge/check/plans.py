"""The concrete plan of every case, for the spec's own card and for the one that runs."""

from __future__ import annotations

from collections.abc import Iterable

from specforge.check.backends import Choice
from specforge.spec.geometry import Plan, plan
from specforge.spec.load import Spec
from specforge.spec.sweep import Case


def own_plans(cases: Iterable[Case]) -> dict[str, Plan]:
    """By case, its plan on the spec's own card; a decode step has none."""
    return {case.id: plan(case.kernel, case.parameters, case.tunables) for case in cases if case.kernel is not None}


def executed_plans(spec: Spec, cases: Iterable[Case], choice: Choice) -> dict[str, Plan]:
    """By case, its plan where it runs: tunables are that card's, or of the spec's own where no file knows the card."""
    device = (choice.device or spec.device).names
    return {
        case.id: plan(case.kernel, case.parameters, choice.tunings.tunables(case.kernel, case.parameters, device))
        for case in cases
        if case.kernel is not None
    }
