from __future__ import annotations

import pytest

from specforge.judge.verdict import Verdict
from specforge.report.rows import SEVERITY, TONES, cases_line, quantity, rows, step_lines, worst_of


def test_every_verdict_has_a_place_and_a_tone():
    assert sorted(SEVERITY) == sorted(Verdict) == sorted(TONES)


def test_only_what_was_decided_well_is_good():
    assert {verdict for verdict, tone in TONES.items() if tone == "good"} == {Verdict.MET, Verdict.UNEXPECTED_MET}


def test_rows_follow_the_spec_and_miss_no_target(samples):
    record = samples.every_verdict()
    found = rows(record)
    assert [row.target.id for row in found] == [target.id for target in record.targets]
    assert sum(len(row.judgements) for row in found) == len(record.judgements)


def test_all_verdicts_occur_in_the_samples(samples):
    shown = {row.verdict for make in samples.SAMPLES.values() for row in rows(make())}
    assert shown == set(Verdict)


def test_a_row_shows_the_worst_of_its_cases(samples):
    row = next(row for row in rows(samples.every_verdict()) if row.target.metric == "peak_bandwidth_share")
    assert [judgement.verdict for judgement in row.judgements].count("met") == 2
    assert row.verdict is Verdict.MISSED
    assert (row.measured, row.bound, row.margin, row.place) == (
        "61.2 %",
        ">= 70 %",
        "-12.6 %",
        "worst batch=1,context=32768",
    )
    assert row.coverage == "3/5"


def test_among_equal_verdicts_the_furthest_beyond_its_bound_is_worst(samples):
    record = samples.missed()
    row = next(row for row in rows(record) if row.target.metric == "spill_bytes")
    base = row.worst
    nearer = base.model_copy(update={"value": 4.0, "case": "nearer"})
    assert worst_of([nearer, base]) == base == worst_of([base, nearer])
    close, far = (base.model_copy(update={"margin": margin}) for margin in (-0.1, -0.5))
    assert worst_of([close, far]) == far


def test_a_wrong_kernel_has_no_margin(samples):
    wrong = [row for row in rows(samples.wrong()) if row.verdict is Verdict.WRONG]
    assert wrong
    assert {row.margin for row in wrong} == {"-"}


def test_counts(samples):
    record = samples.undecided()
    assert cases_line(record) == "12 cases, 10 targeted, 2 record-only; 1 excluded"
    assert step_lines(record) == ["2 of 4 kernels of the decode step are covered, not experts, lm_head"]
    assert cases_line(samples.empty()) == "0 cases, 0 targeted, 0 record-only"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (9e-6, "s", "9 us"),
        (0.7, "%", "70 %"),
        (48.0, "B", "48 B"),
        (130.0, "tok/s", "130 tok/s"),
        (64.0, "1", "64"),
        (3.0, "parsec", "3 parsec"),
    ],
)
def test_values_carry_their_units(value, unit, text):
    assert quantity(value, unit) == text
