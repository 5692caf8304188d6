from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.measure.samples import estimate_median, interval_rank

FLOATS = st.floats(1e-9, 1e3)


@given(st.lists(FLOATS, min_size=1, max_size=200))
def test_the_median_lies_in_its_interval(samples: list[float]) -> None:
    found = estimate_median(samples)
    assert found.value == pytest.approx(statistics.median(samples), rel=1e-12)
    if found.low is not None and found.high is not None:
        assert found.low <= found.value <= found.high
        assert {found.low, found.high} <= set(samples)
    else:
        assert found.precision == math.inf
        assert len(samples) < 6


@given(st.lists(FLOATS, min_size=6, max_size=50), st.randoms(use_true_random=False))
def test_order_does_not_matter(samples: list[float], random: object) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert estimate_median(shuffled) == estimate_median(samples)


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


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(2000):
        found = estimate_median(rng.lognormal(0, 0.5, 40).tolist())
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1.0 <= found.high
    assert 0.945 < hits / 2000 < 0.985


def test_no_samples_are_no_median() -> None:
    with pytest.raises(ValueError, match="no samples"):
        estimate_median([])
