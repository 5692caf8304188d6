from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from specforge.measure.estimate import Estimate, estimate

Draw = Callable[[np.random.Generator], "np.ndarray"]
ROUNDS = st.lists(st.lists(st.floats(1e-6, 1e-3), min_size=6, max_size=40), min_size=1, max_size=6)
COUNT = 80

LAWS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng: rng.normal(100, 2, COUNT), 100.0),
    "heavy": (lambda rng: 100 + rng.standard_t(1.5, COUNT), 100.0),
    "modes": (
        lambda rng: np.where(rng.random(COUNT) < 0.7, 100, 120) + rng.normal(0, 1, COUNT),
        100 + NormalDist().inv_cdf(0.5 / 0.7),
    ),
    "shifted": (lambda rng: rng.normal(100 * (1 + 0.006 * rng.normal()), 2, COUNT), 100.0),
}
"""Samples of one process, and the median that all processes have in common."""


def found(rounds: list[list[float]]) -> Estimate:
    result = estimate(rounds)
    assert result is not None
    return result


@given(ROUNDS)
def test_the_interval_holds_the_value(rounds: list[list[float]]) -> None:
    seen = found(rounds)
    assert seen.low <= seen.value * (1 + 1e-12)
    assert seen.high >= seen.value * (1 - 1e-12)
    assert seen.processes == len(rounds)
    assert (seen.between is None) == (len(rounds) == 1)
    assert seen.within is not None
    assert seen.precision >= 0


@given(ROUNDS, st.floats(1e-3, 1e3))
def test_scale_does_not_matter(rounds: list[list[float]], factor: float) -> None:
    one, other = found(rounds), found([[factor * sample for sample in samples] for samples in rounds])
    assert other.value == pytest.approx(factor * one.value, rel=1e-6)
    assert other.high - other.low == pytest.approx(factor * (one.high - one.low), rel=1e-6, abs=1e-9 * factor)


@given(ROUNDS, st.randoms(use_true_random=False))
def test_the_order_of_processes_does_not_matter(rounds: list[list[float]], random: object) -> None:
    shuffled = list(rounds)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = found(rounds), found(shuffled)
    assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), rel=1e-9)


@given(ROUNDS)
@example([[1e-6] * 6] * 5)  # summed one by one, ten of these have a mean of 1.0000000000000002e-06
def test_every_process_twice_is_known_no_less_well(rounds: list[list[float]]) -> None:
    one, other = found(rounds), found(rounds + rounds)
    if len(rounds) > 1:
        assert other.high - other.low <= (one.high - one.low) * (1 + 1e-9)
    assert other.value == pytest.approx(one.value, rel=1e-9)


@pytest.mark.parametrize("processes", [3, 5])
@pytest.mark.parametrize("law", LAWS)
def test_the_interval_covers_as_often_as_it_says(law: str, processes: int) -> None:
    draw, truth = LAWS[law]
    rng, trials = np.random.default_rng(23), 1000
    seen = [found([draw(rng).tolist() for _ in range(processes)]) for _ in range(trials)]
    assert sum(one.low <= truth <= one.high for one in seen) / trials >= 0.94


def test_one_process_knows_nothing_of_others() -> None:
    """The interval of one process is the samples' own, and covers far less than it says where processes differ."""
    rng, trials = np.random.default_rng(5), 200
    hits = dict.fromkeys(("normal", "shifted"), 0)
    for law in hits:
        for _ in range(trials):
            seen = found([LAWS[law][0](rng).tolist()])
            assert seen.between is None
            hits[law] += seen.low <= 100 <= seen.high
    assert hits["normal"] / trials >= 0.94
    assert hits["shifted"] / trials < 0.8


def test_samples_that_agree_with_processes_that_do_not() -> None:
    seen = found([[99.0] * 10, [100.0] * 10, [101.0] * 10])
    assert (seen.value, seen.within, seen.between) == (100.0, 0.0, 1.0)
    assert seen.high == pytest.approx(100 + 4.30265 / math.sqrt(3), rel=1e-6)
    assert seen.precision == pytest.approx(0.0248413, rel=1e-5)


def test_processes_that_agree_by_luck_are_known_no_better_than_their_samples() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(100, 3, 100).tolist()
    one, three = found([samples]), found([samples] * 3)
    assert three.between == pytest.approx(0.0, abs=1e-9)
    assert three.precision == pytest.approx(one.precision / math.sqrt(3), rel=1e-6)


def test_too_little_to_bound_anything() -> None:
    assert estimate([[1.0, 1.1]]) is None
    seen = found([[1.0], [1.1], [1.2]])  # one figure from each process, such as its joules
    assert (seen.within, seen.processes) == (None, 3)
    assert seen.low < 1.0
    assert seen.high > 1.2


@pytest.mark.parametrize("rounds", [[], [[]], [[1.0] * 9, []]])
def test_nothing_is_no_estimate(rounds: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"no (processes|samples)"):
        estimate(rounds)
