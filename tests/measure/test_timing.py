from __future__ import annotations

import math
import random

import pytest

from specforge.measure.timing import StopRule, collect


class Card:
    """Launches that take a given time, on a clock that only they advance."""

    def __init__(self, launch: float, noise: float, overhead: float = 1e-3, drift: float = 0.0) -> None:
        self.random = random.Random(1)
        self.launch, self.noise, self.overhead, self.drift = launch, noise, overhead, drift
        self.now = 0.0
        self.batches: list[int] = []

    def batch(self, count: int) -> list[float]:
        self.batches.append(count)
        taken = []
        for _ in range(count):
            self.launch *= 1 + self.drift
            taken.append(self.launch * (1 + abs(self.random.gauss(0, self.noise))))
        self.now += sum(taken) + self.overhead
        return taken

    def clock(self) -> float:
        return self.now


def test_a_quiet_kernel_stops_early() -> None:
    card = Card(10e-6, 0.001)
    found = collect(card.batch, StopRule(), card.clock)
    assert len(found.samples) == 50
    assert found.warmup >= 20


def test_a_noisy_kernel_takes_more_until_it_is_known() -> None:
    card = Card(10e-6, 0.05)
    rule = StopRule()
    found = collect(card.batch, rule, card.clock)
    assert 200 < len(found.samples) < rule.maximum


def test_the_maximum_holds_exactly() -> None:
    card = Card(10e-6, 0.5)
    assert len(collect(card.batch, StopRule(maximum=333), card.clock).samples) == 333


def test_the_wall_budget_holds() -> None:
    card = Card(50e-3, 0.3)
    found = collect(card.batch, StopRule(batch=10), card.clock)
    assert len(found.samples) < 2000
    assert card.now < 3.0 + 0.1 + 3 * 10 * 50e-3 * 2


def test_warm_up_is_thrown_away_in_order() -> None:
    card = Card(1e-6, 0.0, drift=1e-6)
    found = collect(card.batch, StopRule(minimum=30, precision=1.0), card.clock)
    assert list(found.samples) == sorted(found.samples)
    assert found.samples[0] > 1e-6 * (1 + 1e-6) ** found.warmup
    assert sum(card.batches) == found.warmup + len(found.samples)


def test_a_batch_may_give_fewer_than_asked() -> None:
    card = Card(1e-6, 0.0)
    found = collect(lambda count: card.batch(min(count, 7)), StopRule(), card.clock)
    assert len(found.samples) >= 30
    assert max(card.batches) == 7


@pytest.mark.parametrize("bad", [math.nan, -1e-6, math.inf])
def test_times_that_are_none_are_refused(bad: float) -> None:
    card = Card(1e-6, 0.1)
    calls = iter(range(10_000))

    def batch(count: int) -> list[float]:
        taken = card.batch(count)
        return taken if next(calls) != 110 else [bad, *taken[1:]]

    with pytest.raises(ValueError, match="clock"):
        collect(batch, StopRule(precision=1e-9), card.clock)


def test_converged_allows_three_times_the_precision() -> None:
    rule = StopRule(precision=0.005)
    assert rule.converged(0.0149)
    assert not rule.converged(0.0151)
    assert not rule.converged(math.inf)
