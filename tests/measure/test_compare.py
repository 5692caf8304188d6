from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.measure.compare import ASSUMED, Comparison, compare

ROUNDS = st.lists(st.lists(st.floats(1e-6, 1e-3), min_size=6, max_size=30), min_size=1, max_size=5)


def rounds(
    rng: np.random.Generator, seconds: float, processes: int, between: float = 0.002, within: float = 0.02
) -> list[list[float]]:
    """What processes measure that differ by `between` of the time, a standard deviation."""
    centres = seconds * (1 + between * rng.normal(size=processes))
    return [rng.normal(centre, within * centre, 200).tolist() for centre in centres]


def found(before: list[list[float]], after: list[list[float]], tolerance: float = 0.01) -> Comparison:
    result = compare(before, after, tolerance)
    assert result is not None
    return result


def flat(*times: float) -> list[list[float]]:
    return [[time] * 10 for time in times]


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((100.0, 100.1, 99.9), (102.0, 102.1, 101.9), "slower"),
        ((100.0, 100.1, 99.9), (98.0, 98.1, 97.9), "faster"),
        ((100.0, 100.1, 99.9), (100.0, 100.1, 99.9), "same"),
        ((100.0, 100.1, 99.9), (100.5, 100.6, 100.4), "same"),  # real, and within the tolerance
        ((100.0, 100.1, 99.9), (100.95, 101.05, 100.85), "undecided"),  # near the line
        ((100.0, 101.5, 98.5), (102.0, 103.5, 100.5), "undecided"),  # chance could make it
        ((100.0, 101.5, 98.5), (100.0, 101.5, 98.5), "undecided"),  # nor is it known to be the same
        ((100.0, 101.5, 98.5), (120.0, 121.5, 118.5), "slower"),
    ],
)
def test_verdicts(before: tuple[float, ...], after: tuple[float, ...], verdict: str) -> None:
    assert found(flat(*before), flat(*after)).verdict == verdict


def test_the_tolerance_says_what_matters() -> None:
    before, after = flat(100.0, 100.1, 99.9), flat(102.0, 102.1, 101.9)
    assert found(before, after, 0.03).verdict == "same"
    assert found(before, after, 0.001).verdict == "slower"


def test_one_process_borrows_the_other_sides_spread() -> None:
    seen = found(flat(100.0), flat(102.0, 102.05, 101.95))
    assert not seen.assumed
    assert seen.verdict == "slower"
    assert found(flat(100.0), flat(102.0, 102.5, 101.5)).verdict == "undecided"


def test_one_process_on_either_side_has_to_assume_one() -> None:
    seen = found(flat(100.0), flat(101.5))
    assert seen.assumed
    assert seen.verdict == "undecided"
    assert seen.high / seen.ratio == pytest.approx(1 + 1.96 * ASSUMED * 2**0.5, rel=1e-3)
    assert found(flat(100.0), flat(103.0)).verdict == "slower"


@given(ROUNDS, ROUNDS)
def test_the_interval_holds_the_ratio_and_swapping_the_sides_inverts_it(
    before: list[list[float]], after: list[list[float]]
) -> None:
    seen, back = found(before, after), found(after, before)
    assert seen.low <= seen.ratio <= seen.high
    assert (back.ratio, back.low, back.high) == pytest.approx((1 / seen.ratio, 1 / seen.high, 1 / seen.low), rel=1e-9)
    opposite = {"faster": "slower", "slower": "faster"}
    assert back.verdict == opposite.get(seen.verdict, seen.verdict)


@given(ROUNDS, ROUNDS)
def test_the_unit_does_not_matter(before: list[list[float]], after: list[list[float]]) -> None:
    seen = found(before, after)
    other = found(*([[1024 * sample for sample in samples] for samples in side] for side in (before, after)))
    assert (other.ratio, other.low, other.high) == pytest.approx((seen.ratio, seen.low, seen.high), rel=1e-6)


@given(ROUNDS)
def test_a_record_is_never_slower_than_itself(one: list[list[float]]) -> None:
    assert found(one, one).verdict in ("same", "undecided")


@pytest.mark.parametrize("between", [0.0, 0.001, 0.002, 0.0025])
def test_two_percent_are_found_and_nothing_is_not(between: float) -> None:
    """The judging power that is asked for: 95 % of 100 trials, and 99 % of 200 A/A trials without an alarm."""
    rng = np.random.default_rng(17)
    slower = [found(rounds(rng, 1e-5, 3, between), rounds(rng, 1.02e-5, 3, between)).verdict for _ in range(100)]
    same = [found(rounds(rng, 1e-5, 3, between), rounds(rng, 1e-5, 3, between)).verdict for _ in range(200)]
    assert slower.count("slower") >= 95
    assert sum(verdict in ("slower", "faster") for verdict in same) <= 2


@pytest.mark.parametrize("between", [0.005, 0.01, 0.05])
def test_however_much_processes_differ_false_alarms_stay_rare(between: float) -> None:
    rng = np.random.default_rng(19)
    same = [found(*(flat(*(1 + between * rng.normal(size=3))) for _ in "ab")).verdict for _ in range(1000)]
    assert sum(verdict in ("slower", "faster") for verdict in same) <= 15


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng, trials, hits = np.random.default_rng(29), 300, 0
    for _ in range(trials):
        seen = found(rounds(rng, 1e-5, 3), rounds(rng, 1.01e-5, 3))
        hits += seen.low <= 1.01 <= seen.high
    assert hits / trials >= 0.94


def test_what_cannot_be_compared() -> None:
    assert compare([[1.0, 1.0]], flat(1.0)) is None
    with pytest.raises(ValueError, match="zero"):
        compare(flat(0.0), flat(1.0))
    with pytest.raises(ValueError, match="no samples"):
        compare([[]], flat(1.0))
