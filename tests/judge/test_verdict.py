"""Verdicts and exit statuses as pure functions: each one reached, and which wins where several apply."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.diagnostics import Position
from specforge.judge.verdict import (
    MEANINGS,
    PRECEDENCE,
    STATUS_MEANINGS,
    Evidence,
    Judgement,
    Status,
    Value,
    Verdict,
    first_of,
    judge,
    status_of,
)
from specforge.spec.metrics import METRICS, STAGES
from specforge.spec.target import Target

TODAY = date(2026, 6, 1)
LATER, EARLIER = date(2027, 2, 1), date(2026, 5, 31)
SLOW, FAST, NEAR = Value(12e-6, 11e-6, 13e-6), Value(7e-6, 6e-6, 8e-6), Value(9e-6, 8e-6, 10e-6)


def target(
    metric="latency", comparison="at_most", bound=9e-6, level="required", known_miss=None, cases=("a",)
) -> Target:
    where = Position(Path("specs/x.yaml"), 1, 1)
    return Target("b", METRICS[metric], comparison, bound, None, level, None, known_miss, cases, where)


def evidence(metric="latency", value=None, **kwargs) -> Evidence:
    return Evidence("a", values={} if value is None else {metric: value}, **{"verified": True, **kwargs})


def one(target_: Target, evidence_: Evidence, until="judge", today=TODAY) -> Judgement:
    (judgement,) = judge([target_], {"a": evidence_}, until=until, today=today)
    return judgement


# --- each verdict -----------------------------------------------------------------------------------------------------

REACHED = {
    Verdict.MET: (target(), evidence(value=FAST)),
    Verdict.MISSED: (target(), evidence(value=SLOW)),
    Verdict.WRONG: (target(), evidence(value=FAST, wrong="row 3 is off")),
    Verdict.IMPLAUSIBLE: (target(), evidence(value=FAST, implausible="faster than memory")),
    Verdict.INCONCLUSIVE: (target(), evidence(value=NEAR)),
    Verdict.UNMEASURED: (target(), evidence()),
    Verdict.ERROR: (target(), evidence(fault="illegal access")),
    Verdict.KNOWN_MISS: (target(known_miss=("launch bound", LATER)), evidence(value=SLOW)),
    Verdict.UNEXPECTED_MET: (target(known_miss=("launch bound", LATER)), evidence(value=FAST)),
}
STATUS = {
    Verdict.MET: Status.MET,
    Verdict.MISSED: Status.MISSED,
    Verdict.WRONG: Status.WRONG,
    Verdict.IMPLAUSIBLE: Status.WRONG,
    Verdict.INCONCLUSIVE: Status.UNDECIDED,
    Verdict.UNMEASURED: Status.UNDECIDED,
    Verdict.ERROR: Status.WRONG,
    Verdict.SKIPPED: Status.MET,
    Verdict.KNOWN_MISS: Status.MET,
    Verdict.UNEXPECTED_MET: Status.MET,
}


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_reached_and_has_its_status(verdict):
    target_, evidence_ = REACHED.get(verdict, (target(), evidence(value=FAST)))
    until = "verify" if verdict is Verdict.SKIPPED else "judge"
    judgement = one(target_, evidence_, until)
    assert judgement.verdict is verdict
    assert status_of([judgement], [evidence_], selected=True) is STATUS[verdict]


def test_every_verdict_and_status_is_explained():
    assert set(MEANINGS) == set(Verdict)
    assert set(STATUS_MEANINGS) == set(Status)
    assert [int(status) for status in PRECEDENCE] == [2, 3, 1, 4, 5, 0]


# --- the bound itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comparison", "value", "verdict"),
    [
        ("at_most", 9e-6, Verdict.MET),
        ("at_most", math.nextafter(9e-6, 1), Verdict.MISSED),
        ("at_most", 0.0, Verdict.MET),
        ("at_least", 9e-6, Verdict.MET),
        ("at_least", math.nextafter(9e-6, 0), Verdict.MISSED),
        ("equals", 9e-6, Verdict.MET),
        ("equals", 8e-6, Verdict.MISSED),
        ("equals", 10e-6, Verdict.MISSED),
        ("at_most", math.nan, Verdict.MISSED),
        ("at_least", math.nan, Verdict.MISSED),
        ("equals", math.nan, Verdict.MISSED),
        ("at_most", math.inf, Verdict.MISSED),
    ],
)
def test_bounds_hold_inclusively_and_nan_never_passes(comparison, value, verdict):
    assert one(target(comparison=comparison), evidence(value=Value(value))).verdict is verdict


@given(
    st.floats(1e-9, 1),
    st.floats(1e-9, 1),
    st.floats(1e-9, 1),
    st.floats(1e-9, 1),
    st.sampled_from(["at_most", "at_least"]),
)
def test_an_interval_decides_only_from_one_side(a, b, c, bound, comparison):
    low, middle, high = sorted((a, b, c))
    verdict = one(target(comparison=comparison, bound=bound), evidence(value=Value(middle, low, high))).verdict
    good, bad = (high <= bound, low > bound) if comparison == "at_most" else (low >= bound, high < bound)
    assert verdict is (Verdict.MET if good else Verdict.MISSED if bad else Verdict.INCONCLUSIVE)


@given(st.floats(1e-9, 1), st.floats(1e-9, 1))
def test_faster_is_never_a_failure(bound, value):
    better = value / 2
    if one(target(bound=bound), evidence(value=Value(value))).verdict is Verdict.MET:
        assert one(target(bound=bound), evidence(value=Value(better))).verdict is Verdict.MET


@pytest.mark.parametrize(
    ("comparison", "value", "margin"),
    [
        ("at_most", 6.0, 0.25),
        ("at_most", 10.0, -0.25),
        ("at_least", 10.0, 0.25),
        ("at_least", 6.0, -0.25),
        ("equals", 8.0, 0.0),
        ("equals", 10.0, -0.25),
        ("equals", 6.0, -0.25),
    ],
)
def test_margins_are_on_the_good_side(comparison, value, margin):
    judgement = one(target("registers", comparison, 8), evidence("registers", Value(value)))
    assert judgement.margin == pytest.approx(margin)
    assert (judgement.verdict is Verdict.MET) == (margin >= 0)


def test_there_is_no_margin_to_zero_nor_without_a_value():
    assert one(target("spill_bytes", "equals", 0), evidence("spill_bytes", Value(4))).margin is None
    judgement = one(target(), evidence())
    assert (judgement.margin, judgement.value) == (None, None)


# --- known misses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "value", "verdict"),
    [
        (LATER, SLOW, Verdict.KNOWN_MISS),
        (TODAY, SLOW, Verdict.KNOWN_MISS),
        (EARLIER, SLOW, Verdict.MISSED),
        (LATER, FAST, Verdict.UNEXPECTED_MET),
        (EARLIER, FAST, Verdict.UNEXPECTED_MET),
        (LATER, NEAR, Verdict.KNOWN_MISS),
        (EARLIER, NEAR, Verdict.INCONCLUSIVE),
        (LATER, replace(NEAR, doubt="did not converge"), Verdict.INCONCLUSIVE),
        (LATER, None, Verdict.UNMEASURED),
    ],
)
def test_a_known_miss_is_accepted_through_its_last_day(until, value, verdict):
    judgement = one(target(known_miss=("launch bound", until)), evidence(value=value))
    assert judgement.verdict is verdict
    if verdict in (Verdict.KNOWN_MISS, Verdict.MISSED, Verdict.UNEXPECTED_MET):
        assert "launch bound" in judgement.reason
        assert str(until) in judgement.reason


def test_a_known_miss_excuses_no_wrong_result():
    assert one(target(known_miss=("x", LATER)), evidence(value=SLOW, wrong="off")).verdict is Verdict.WRONG


# --- missing is never passed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_a_case_that_was_not_run_is_unmeasured(metric):
    (judgement,) = judge([target(metric, "at_most")], {}, until="judge", today=TODAY)
    assert judgement.verdict is Verdict.UNMEASURED
    assert judgement.reason == "the case was not run"
    assert status_of([judgement], [], selected=True) is Status.UNDECIDED


@pytest.mark.parametrize("until", STAGES)
@pytest.mark.parametrize("metric", METRICS)
def test_a_target_is_met_only_once_its_step_was_reached_and_its_case_verified(metric, until):
    target_ = target(metric, "at_most", 1.0)
    unverified = one(target_, evidence(metric, Value(0.5), verified=False), until).verdict
    verified = one(target_, evidence(metric, Value(0.5)), until).verdict
    if STAGES.index(METRICS[metric].stage) > STAGES.index(until):
        assert unverified is verified is Verdict.SKIPPED
    else:
        assert verified is Verdict.MET
        # Without verification only a compiler's figure may be judged, in a run that was not asked to verify.
        asked = STAGES.index(until) >= STAGES.index("verify")
        assert unverified is (Verdict.UNMEASURED if asked else Verdict.MET)


def test_reasons_go_from_the_particular_to_the_general():
    def reason(missing: dict[str, str]) -> str:
        return one(target(), evidence(missing=missing)).reason

    assert reason({"latency": "no card", "*": "no runner"}) == "no card"
    assert reason({"bandwidth": "no card", "*": "no runner"}) == "no runner"
    assert reason({}) == "no value was obtained"
    unverified = one(target(), evidence(value=FAST, verified=False, missing={"*": "fuzzing was cut short"}))
    assert (unverified.verdict, unverified.reason) == (Verdict.UNMEASURED, "fuzzing was cut short")


def test_nothing_is_averaged_across_cases():
    many = target(cases=("a", "b", "c"))
    run = {case: Evidence(case, verified=True, values={"latency": value}) for case, value in (("a", FAST), ("b", SLOW))}
    found = judge([many], run, until="judge", today=TODAY)
    assert [(item.case, item.verdict) for item in found] == [
        ("a", Verdict.MET),
        ("b", Verdict.MISSED),
        ("c", Verdict.UNMEASURED),
    ]
    assert status_of(found, [], selected=True) is Status.MISSED


# --- which verdict wins in one case -----------------------------------------------------------------------------------

TROUBLES = {
    "wrong": (Verdict.WRONG, {"wrong": "off"}),
    "fault": (Verdict.ERROR, {"fault": "illegal access"}),
    "implausible": (Verdict.IMPLAUSIBLE, {"implausible": "too fast"}),
    "trouble": (Verdict.ERROR, {"trouble": "the card fell off the bus"}),
    "unverified": (Verdict.UNMEASURED, {"verified": False}),
}


@pytest.mark.parametrize(
    "names", [names for size in (1, 2, 3, 4, 5) for names in itertools.combinations(TROUBLES, size)], ids="+".join
)
@pytest.mark.parametrize("value", [FAST, SLOW, NEAR, None], ids=["fast", "slow", "near", "none"])
def test_the_gravest_wins(names, value):
    kwargs = {key: what for name in names for key, what in TROUBLES[name][1].items()}
    judgement = one(target(), evidence(value=value, **kwargs))
    order = ["wrong", "fault", "implausible", *(["trouble"] if value is None else []), "unverified"]
    first = next((name for name in order if name in names), None)
    if first is None:  # trouble after the value was obtained
        assert judgement.verdict in (Verdict.MET, Verdict.MISSED, Verdict.INCONCLUSIVE)
    else:
        assert judgement.verdict is TROUBLES[first][0]
        assert judgement.infrastructure == (first == "trouble")


def test_what_was_not_requested_is_not_judged_and_what_was_wrong_counts_all_the_same():
    for trouble in ({"wrong": "off"}, {"fault": "hang"}, {"trouble": "no space left"}):
        assert one(target(), evidence(**trouble), until="verify").verdict is Verdict.SKIPPED
    wrong = evidence(wrong="off")
    assert status_of([one(target(), wrong, until="verify")], [wrong], selected=True) is Status.WRONG


def test_implausible_times_leave_the_compilers_figures_alone():
    item = Evidence("a", True, implausible="too fast", values={"registers": Value(40), "latency": FAST})
    assert one(target("registers", "at_most", 64), item).verdict is Verdict.MET
    assert one(target(), item).verdict is Verdict.IMPLAUSIBLE


# --- the exit status --------------------------------------------------------------------------------------------------


def judgement_of(verdict: Verdict, level: str = "required", *, infrastructure: bool = False) -> Judgement:
    return Judgement("t", "a", "latency", level, verdict, 1.0, 1.0, 0.0, "", infrastructure)


@pytest.mark.parametrize("level", ["required", "warn", "record"])
@pytest.mark.parametrize("verdict", Verdict)
def test_only_required_targets_stop_a_run_but_a_wrong_kernel_always_does(verdict, level):
    status = status_of([judgement_of(verdict, level)], [], selected=True)
    if level == "required" or STATUS[verdict] is Status.WRONG:
        assert status is STATUS[verdict]
    else:
        assert status is Status.MET


@pytest.mark.parametrize(
    ("level", "status"), [("required", Status.UNDECIDED), ("warn", Status.MET), ("record", Status.MET)]
)
def test_trouble_with_the_machine_is_undecided_not_wrong(level, status):
    assert status_of([judgement_of(Verdict.ERROR, level, infrastructure=True)], [], selected=True) is status


@pytest.mark.parametrize("kwargs", [{"wrong": "off"}, {"fault": "hang"}, {"implausible": "too fast"}])
def test_a_wrong_case_without_targets_still_counts(kwargs):
    assert status_of([], [Evidence("a", **kwargs)], selected=True) is Status.WRONG


def test_the_rest_of_the_inputs():
    assert status_of([], [], selected=True) is Status.MET
    assert status_of([], [], selected=False) is Status.EMPTY
    assert status_of([], [], selected=True, undecided=True) is Status.UNDECIDED
    assert status_of([], [], selected=False, undecided=True) is Status.UNDECIDED


CAUSES = {
    Status.WRONG: Verdict.WRONG,
    Status.MISSED: Verdict.MISSED,
    Status.UNDECIDED: Verdict.UNMEASURED,
    Status.MET: Verdict.MET,
}


@pytest.mark.parametrize("wanted", [names for size in (1, 2, 3, 4) for names in itertools.permutations(CAUSES, size)])
def test_the_first_of_the_documented_order_wins(wanted):
    judgements = [judgement_of(CAUSES[status]) for status in wanted]
    expected = next(status for status in PRECEDENCE if status in wanted)
    assert status_of(judgements, [], selected=True) is expected
    if expected is Status.MET:
        assert status_of(judgements, [], selected=False) is Status.EMPTY
    else:
        assert status_of(judgements, [], selected=False) is expected


@given(st.lists(st.sampled_from(Status), min_size=1))
def test_one_status_wins_whatever_the_order(statuses):
    winner = first_of(statuses)
    assert winner in statuses
    assert first_of(reversed(statuses)) is winner
    assert all(PRECEDENCE.index(winner) <= PRECEDENCE.index(status) for status in statuses)


def test_of_no_status_nothing_was_selected():
    assert first_of([]) is Status.EMPTY


# --- waivers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "missing", "verdict"),
    [
        (FAST, {}, Verdict.KNOWN_MISS),
        (SLOW, {}, Verdict.MISSED),
        (NEAR, {}, Verdict.INCONCLUSIVE),
        (None, {}, Verdict.UNMEASURED),
        (None, {"*": "known since May"}, Verdict.KNOWN_MISS),
    ],
)
def test_a_waived_case_never_meets_a_target(value, missing, verdict):
    judgement = one(target(), evidence(value=value, missing=missing, waived="known since May"))
    assert judgement.verdict is verdict
    assert (judgement.reason == "known since May") == (verdict is Verdict.KNOWN_MISS)


def test_a_fault_of_a_waived_case_counts():
    assert one(target(), evidence(value=FAST, fault="a race", waived="known")).verdict is Verdict.ERROR
    assert one(target(), evidence(value=FAST, wrong="outside", waived="known")).verdict is Verdict.WRONG
