from __future__ import annotations

import numpy as np
import pytest

from specforge.measure.shape import describe_shape

RNG = np.random.default_rng(3)
PRECISION = 0.01


def shape(samples: np.ndarray) -> list[str]:
    return describe_shape((samples * 1e-5).tolist(), PRECISION)


@pytest.mark.parametrize("count", [60, 400, 2000])
@pytest.mark.parametrize(
    "draw",
    [
        lambda n: RNG.normal(1, 0.03, n),
        lambda n: RNG.uniform(0.9, 1.1, n),
        lambda n: RNG.lognormal(0, 0.2, n),
        lambda n: 1 + RNG.exponential(0.1, n),
        lambda n: (1 + 0.02 * RNG.standard_t(1.5, n)).clip(0.1),
        lambda n: np.round(RNG.normal(1, 0.01, n) / 0.006) * 0.006,  # a coarse clock
        np.ones,
    ],
    ids=["normal", "uniform", "lognormal", "exponential", "heavy", "ticks", "constant"],
)
def test_one_mode_that_stays_is_nothing_to_tell(draw: object, count: int) -> None:
    assert [shape(draw(count)) for _ in range(5)] == [[]] * 5  # type: ignore[operator]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_two_modes(share: float) -> None:
    samples = np.where(RNG.random(500) < share, 1.0, 1.15) + RNG.normal(0, 0.01, 500)
    (told,) = shape(samples)
    assert told.startswith(f"two modes: {round(100 * np.mean(samples < 1.075))} % of the samples around ")


def test_modes_nearer_than_the_precision_asked_for_do_not_matter() -> None:
    assert shape(np.where(RNG.random(500) < 0.5, 1.0, 1.008) + RNG.normal(0, 0.0005, 500)) == []


def test_drift() -> None:
    rising = shape(np.linspace(1, 1.05, 200) + RNG.normal(0, 0.005, 200))
    assert rising == [told for told in rising if told.startswith("the times drift: 10.1")]
    assert rising
    assert shape(np.linspace(1.05, 1, 200) + RNG.normal(0, 0.005, 200))
    assert shape(np.linspace(1, 1.005, 200) + RNG.normal(0, 0.005, 200)) == []


def test_a_step_is_both() -> None:
    told = shape(np.repeat([1.0, 1.1], 100) + RNG.normal(0, 0.005, 200))
    assert [sentence.split(":")[0] for sentence in told] == ["the times drift", "two modes"]


def test_few_samples_tell_nothing() -> None:
    assert shape(np.repeat([1.0, 1.5], 10)) == []
