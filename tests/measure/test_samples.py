from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from specforge.measure.samples import BLOCKS, estimate_median, interval_rank, tick

FLOATS = st.floats(1e-9, 1e3)


@given(st.lists(FLOATS, min_size=1, max_size=200))
def test_the_median_lies_in_its_interval(samples: list[float]) -> None:
    assume(tick(sorted(samples)) == 0)
    found = estimate_median(samples)
    assert found.value == pytest.approx(statistics.median(samples), rel=1e-12)
    if found.low is not None and found.high is not None:
        assert min(samples) <= found.low <= found.value * (1 + 1e-12)
        assert found.value * (1 - 1e-12) <= found.high <= max(samples)
    else:
        assert found.precision == math.inf
        assert len(samples) < 6


@given(st.lists(st.integers(100, 110), min_size=6, max_size=200))
def test_by_a_coarse_clock_the_median_is_within_a_tick(ticks: list[int]) -> None:
    found = estimate_median([32e-9 * number for number in ticks])
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert (
        abs(found.value / 32e-9 - statistics.median(ticks)) <= max(np.diff(sorted(set(ticks))), default=0) * 0.5 + 1e-6
    )


@given(st.lists(st.integers(1, 10_000), min_size=6, max_size=100), st.sampled_from([1e-9, 1e-6, 0.5, 3.0]))
def test_scale_does_not_matter(samples: list[int], factor: float) -> None:
    one, other = estimate_median(samples), estimate_median([factor * sample for sample in samples])
    for before, after in ((one.value, other.value), (one.low, other.low), (one.high, other.high)):
        assert after == pytest.approx(factor * before, rel=1e-9)  # type: ignore[operator]


@given(st.lists(FLOATS, min_size=2 * BLOCKS, max_size=50))
def test_backwards_is_as_forwards(samples: list[float]) -> None:
    count = len(samples) // BLOCKS * BLOCKS
    one, other = estimate_median(samples[:count]), estimate_median(samples[:count][::-1])
    assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), rel=1e-9)


@pytest.mark.parametrize("count", [*range(1, 60), 500, 2000])
def test_ranks_are_the_tightest_that_the_binomial_allows(count: int) -> None:
    def coverage(rank: int) -> float:
        return 1 - 2 * sum(math.comb(count, k) for k in range(rank + 1)) / 2**count

    rank = interval_rank(count, 0.95)
    if rank is None:
        assert coverage(0) < 0.95
    else:
        assert coverage(rank) >= 0.95 - 1e-12
        assert coverage(rank + 1) < 0.95


def autoregressive(rng: np.random.Generator, coefficient: float, count: int) -> list[float]:
    """A stationary run around 1000 with a standard deviation of 10."""
    found, state = [], rng.normal()
    for step in rng.normal(0, math.sqrt(1 - coefficient**2), count):
        state = coefficient * state + step
        found.append(1000 + 10 * state)
    return found


@pytest.mark.parametrize(("coefficient", "least", "most"), [(0.0, 0.95, 0.995), (0.6, 0.93, 0.99), (0.9, 0.91, 0.98)])
def test_the_interval_covers_as_often_as_it_says(coefficient: float, least: float, most: float) -> None:
    rng = np.random.default_rng(7)
    hits, trials = 0, 500
    for _ in range(trials):
        found = estimate_median(autoregressive(rng, coefficient, 400))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1000 <= found.high
    assert least < hits / trials < most


def test_a_drift_is_not_averaged_away() -> None:
    """More samples of a trend make its middle no better known."""
    for count in (80, 800, 8000):
        found = estimate_median([1 + n / count for n in range(count)])
        assert found.precision > 0.1


def test_ticks() -> None:
    assert tick([1.0, 1.0, 1.0]) == 0
    assert tick([32e-9 * n for n in (100, 100, 100, 101, 101, 103, 103, 103)]) == pytest.approx(32e-9, rel=1e-3)
    assert tick([32e-9 * n for n in (100, 100, 100, 101, 101, 103.5, 103.5, 103.5)]) == 0
    assert tick([1.0, 1.0, 1.0, 2.0]) == 0  # two modes and no clock
    assert tick([100.0, 101.0, 102.0, 103.0]) == 0  # no ties: nothing to interpolate in


def test_no_samples_are_no_median() -> None:
    with pytest.raises(ValueError, match="no samples"):
        estimate_median([])
