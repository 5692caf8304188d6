from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from specforge.backend.telemetry import Telemetry
from specforge.measure import stopping
from specforge.measure.samples import Median, estimate_median
from specforge.measure.series import Batch
from specforge.measure.stopping import (
    Collected,
    MostSamples,
    Precision,
    Progress,
    Retries,
    Stop,
    StopRule,
    WallBudget,
    collect,
)

Law = Callable[[int, random.Random], float]
"""Seconds of a launch from how many there were before it, and chance."""


class Card:
    """Launches that take what a law says, on a clock that only they advance."""

    def __init__(self, law: Law, overhead: float = 1e-3, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.law, self.overhead = law, overhead
        self.now, self.launches = 0.0, 0
        self.sizes: list[int] = []

    def take(self, count: int) -> Batch:
        self.sizes.append(count)
        samples = tuple(self.law(self.launches + n, self.random) for n in range(count))
        self.launches += count
        self.now += sum(samples) + self.overhead
        return Batch(samples, Telemetry())

    def collect(self, rule: StopRule, reject: Callable[[Batch], str | None] | None = None) -> Collected:
        return collect(self.take, rule, lambda: self.now, reject=reject)


def noisy(seconds: float, noise: float) -> Law:
    return lambda _, chance: seconds * (1 + abs(chance.gauss(0, noise)))


def kept(found: Collected) -> list[float]:
    return [sample for batch in found.batches if batch.discarded is None for sample in batch.samples]


def progress(median: Median | None = None, samples: int = 100, seconds: float = 0.0, rejected: int = 0) -> Progress:
    return Progress(samples, 8, median, seconds, rejected)


@pytest.mark.parametrize(
    ("median", "samples", "bounds", "enough"),
    [
        (Median(1.0, 0.997, 1.003), 100, (), True),
        (Median(1.0, 0.996, 1.004), 100, (), False),  # a third of 1 % is asked for
        (Median(1.0, 0.997, 1.003), 49, (), False),
        (Median(1.0, 0.997, 1.003), 100, (0.9, 1.002), False),  # a target's bound lies inside
        (Median(1.0, 0.997, 1.003), 100, (0.9, 1.004), True),
        (Median(1.0, None, None), 100, (), False),
        (None, 0, (), False),
    ],
)
def test_precision(median: Median | None, samples: int, bounds: tuple[float, ...], enough: bool) -> None:
    assert (Precision(0.01, 50, bounds)(progress(median, samples)) == "precision") is enough


def test_precision_needs_batches_to_tell_apart() -> None:
    known = Median(1.0, 1.0, 1.0)
    assert Precision(0.01, 50)(Progress(400, 7, known, 0.0, 0)) is None
    assert Precision(0.01, 50)(Progress(400, 8, known, 0.0, 0)) == "precision"


def test_the_ends() -> None:
    assert MostSamples(100)(progress(samples=99)) is None
    assert MostSamples(100)(progress(samples=100)) == "samples"
    assert WallBudget(3.0)(progress(seconds=2.9)) is None
    assert WallBudget(3.0)(progress(seconds=3.0)) == "seconds"
    assert Retries(10)(progress(rejected=10)) is None
    assert Retries(10)(progress(rejected=11)) == "throttled"


def test_converged_needs_what_was_asked_for() -> None:
    assert Stop("seconds", 0.0099, 0.01).converged
    assert not Stop("seconds", 0.0101, 0.01).converged
    assert not Stop("throttled", None, 0.01).converged


def test_a_quiet_kernel_stops_early() -> None:
    found = Card(noisy(10e-6, 0.001)).collect(StopRule())
    assert (len(kept(found)), found.stop.reason, found.notes) == (64, "precision", ())
    assert found.warmup >= 10


def test_a_median_is_not_asked_for_before_it_could_end_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        stopping, "estimate_median", lambda samples: asked.append(len(samples)) or estimate_median(samples)
    )
    assert Card(noisy(10e-6, 0.001)).collect(StopRule()).stop.reason == "precision"
    assert asked == [64]
    found = Card(noisy(50e-3, 0.001)).collect(StopRule(seconds=0.5))  # ends with fewer batches than that
    assert found.stop.reason == "seconds"
    assert found.stop.precision is not None
    assert asked[1:] == [len(kept(found))]


def test_a_noisy_kernel_takes_more_until_it_is_known() -> None:
    found = Card(noisy(10e-6, 0.05)).collect(StopRule())
    assert 64 < len(kept(found)) < StopRule().maximum
    assert found.stop.precision is not None
    assert found.stop.precision <= 0.01 / 3
    assert found.stop.asked == 0.01


def test_the_maximum_holds_exactly() -> None:
    found = Card(noisy(10e-6, 0.5)).collect(StopRule(maximum=333))
    assert (len(kept(found)), found.stop.reason, found.stop.converged) == (333, "samples", False)
    assert found.notes[-1].startswith("the median did not settle within 333 samples: known to ")


def test_the_wall_budget_holds() -> None:
    card = Card(noisy(50e-3, 0.3))
    found = card.collect(StopRule())
    assert found.stop.reason == "seconds"
    assert card.now < 3.0 + 5 * 5 * 50e-3 * 2 + 50 * 50e-3 * 2
    assert set(card.sizes[1:]) == {3}  # a batch of slow launches is small


def test_warm_up_is_thrown_away_in_order() -> None:
    card = Card(lambda n, _: 1e-6 * (1 + 1e-6 * n))
    found = card.collect(StopRule(precision=1.0))
    samples = kept(found)
    assert samples == sorted(samples)
    assert samples[0] == 1e-6 * (1 + 1e-6 * found.warmup)
    assert sum(card.sizes) == found.warmup + len(samples)


def at_clock(card: Card, megahertz: Callable[[int], float]) -> Callable[[int], Batch]:
    return lambda count: replace(card.take(count), telemetry=Telemetry(sm_clock=1e6 * megahertz(len(card.sizes))))


def test_a_warm_card_is_not_warmed_again() -> None:
    card = Card(noisy(10e-6, 0.001))
    found = collect(at_clock(card, lambda _: 1980), StopRule(), lambda: card.now)
    assert found.warmup == 10  # two batches that agree
    card = Card(noisy(10e-3, 0.001))
    assert collect(at_clock(card, lambda _: 1980), StopRule(), lambda: card.now).warmup == 13  # 0.13 s


def test_a_card_that_is_not_warm_gets_the_whole_time() -> None:
    """Its clock rises, its times fall, or it does not tell its clock."""
    for law, clock in (
        (noisy(10e-6, 0.001), lambda batch: 300 + 15 * batch),
        (lambda n, _: 10e-6 * (1 + 5 * 0.995**n), lambda _: 1980),
    ):
        card = Card(law)
        found = collect(at_clock(card, clock), StopRule(maximum=64), lambda card=card: card.now)
        assert found.warmup > 300
    card = Card(noisy(10e-6, 0.001))
    assert card.collect(StopRule()).warmup > 300


def test_batches_grow_to_what_is_missing() -> None:
    card = Card(noisy(10e-6, 0.05))
    found = card.collect(StopRule())
    sizes = [len(batch.samples) for batch in found.batches]
    assert sizes[:8] == [8] * 8
    assert max(sizes) == 50
    assert sizes == sorted(sizes[:-1]) + sizes[-1:]


def test_a_batch_may_give_fewer_than_asked() -> None:
    card = Card(noisy(1e-6, 0.0))
    found = collect(lambda count: card.take(min(count, 7)), StopRule(), lambda: card.now)
    assert len(kept(found)) == 70
    assert max(card.sizes) == 7


@pytest.mark.parametrize("bad", [math.nan, -1e-6, math.inf])
def test_times_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="clock"):
        Card(lambda n, _: bad if n == 6000 else 1e-6 * (1 + n % 7)).collect(StopRule(precision=1e-9, maximum=10_000))


def test_no_times_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="clock"):
        collect(lambda _: Batch((), Telemetry()), StopRule())


def test_a_bound_keeps_it_going_until_the_budget_ends() -> None:
    law = noisy(10e-6, 0.001)
    near = tuple(10e-6 * (1 + 0.6745 * 0.001 + 1e-5 * n) for n in range(-20, 21))  # about the median
    assert Card(law).collect(StopRule(bounds=(11e-6,))).stop.reason == "precision"
    found = Card(law).collect(StopRule(bounds=near, seconds=0.05))
    assert (found.stop.reason, found.stop.converged) == ("seconds", True)


def test_drift_is_told_and_never_passes_for_precision() -> None:
    found = Card(lambda n, chance: 10e-6 * (1 + 1e-3 * n) * (1 + chance.gauss(0, 0.002))).collect(StopRule())
    assert any("the times drift" in note for note in found.notes)
    assert not found.stop.converged
    assert found.stop.reason == "samples"


def test_two_modes_are_told() -> None:
    law: Law = lambda _, chance: (10e-6 if chance.random() < 0.7 else 13e-6) * (1 + chance.gauss(0, 0.003))  # noqa: E731
    found = Card(law).collect(StopRule(minimum=400))
    assert any(
        re.match(r"two modes: (6[5-9]|7\d) % .* around (9.99\d|10|10.0\d) us, .* around (12.9\d|13|13.0\d) us", note)
        for note in found.notes
    )
    assert not any("drift" in note for note in found.notes)


def test_two_modes_in_spells_are_known_less_well_than_mixed_ones() -> None:
    """Modes that last for hundreds of launches: each batch sees one of them, and no batch the median."""
    mixed: Law = lambda _, chance: (10e-6 if chance.random() < 0.5 else 10.5e-6) * (1 + chance.gauss(0, 0.01))  # noqa: E731
    spells: Law = lambda n, chance: (10e-6 if (n // 170) % 2 else 10.5e-6) * (1 + chance.gauss(0, 0.01))  # noqa: E731
    rule = StopRule(precision=1e-6, maximum=1000)
    precise, vague = (Card(law).collect(rule).stop.precision for law in (mixed, spells))
    assert precise is not None
    assert vague is not None
    assert vague > 1.5 * precise


def test_heavy_tails_cost_samples_and_nothing_else() -> None:
    law: Law = lambda _, chance: 10e-6 * (1 + 0.01 * abs(chance.gauss(0, 1) / max(abs(chance.gauss(0, 1)), 1e-6)))  # noqa: E731
    found = Card(law).collect(StopRule())
    assert found.stop.reason == "precision"
    assert found.notes == ()
    assert 10e-6 < sorted(kept(found))[len(kept(found)) // 2] < 10.3e-6


def throttles(n: int, chance: random.Random) -> float:
    """A fifth slower for 600 launches, which come after the warm-up and the first 500."""
    return 10e-6 * (1.2 if 1240 <= n < 1840 else 1.0) * (1 + abs(chance.gauss(0, 0.02)))


def test_a_throttling_step_that_is_seen_costs_nothing_but_its_batches() -> None:
    rule = StopRule(precision=1e-6, maximum=1500, retries=20)
    found = Card(throttles).collect(rule, lambda batch: "slowed: sw_thermal" if max(batch.samples) > 11.5e-6 else None)
    assert found.stop.reason == "samples"
    assert len(kept(found)) == 1500
    assert max(kept(found)) < 11.9e-6
    rejected = [batch for batch in found.batches if batch.discarded is not None]
    assert {batch.discarded for batch in rejected} == {"slowed: sw_thermal"}
    assert all(batch.samples for batch in rejected)  # kept all the same
    assert f"{len(rejected)} of {len(found.batches)} batches do not count: slowed: sw_thermal" in found.notes


def test_a_throttling_step_that_nobody_sees_is_in_the_interval() -> None:
    found = Card(throttles).collect(StopRule(precision=1e-6, maximum=1500))
    assert any("two modes" in note for note in found.notes), found.notes
    assert found.stop.precision is not None
    quiet = Card(noisy(10e-6, 0.02)).collect(StopRule(precision=1e-6, maximum=1500))
    assert quiet.stop.precision is not None
    assert found.stop.precision > 2 * quiet.stop.precision


def test_a_card_that_stays_throttled_is_given_up() -> None:
    card = Card(noisy(10e-6, 0.01))
    found = card.collect(StopRule(), lambda _: "slowed: sw_power_cap")
    assert (found.stop.reason, found.stop.precision, found.stop.converged) == ("throttled", None, False)
    assert (len(found.batches), kept(found)) == (11, [])
    assert found.notes == (
        "11 of 11 batches do not count: slowed: sw_power_cap",
        "the median did not settle within 0 samples: known to unknown",
    )


def test_a_batch_that_comes_discarded_does_not_count() -> None:
    card = Card(noisy(10e-6, 0.005))

    def take(count: int) -> Batch:
        batch = card.take(count)
        return Batch(batch.samples, batch.telemetry, "foreign process" if len(card.sizes) % 2 else None)

    found = collect(take, StopRule(), lambda: card.now)
    assert len(kept(found)) == 64
    assert sum(batch.discarded is not None for batch in found.batches) in (7, 8)


@pytest.mark.parametrize("step", [32e-9, 0.5e-6])
def test_a_coarse_clock(step: float) -> None:
    """A kernel of 5.3 us by a clock of 32 ns: many ties, and a median that is known far better than a tick."""

    def law(_: int, chance: random.Random) -> float:
        start, end = chance.random(), 0.0
        end = start + 5.3e-6 * (1 + chance.gauss(0, 0.005)) / step
        return (math.floor(end) - math.floor(start)) * step

    found = Card(law).collect(StopRule(minimum=400))
    assert estimate_median(kept(found)).value == pytest.approx(5.3e-6, abs=step / 8)
    assert not any("modes" in note for note in found.notes)


def truth(name: str, rng: np.random.Generator) -> tuple[Callable[[], Sequence[float]], float]:
    """Endless blocks of 50 samples whose true median is known."""
    match name:
        case "normal":
            return lambda: list(rng.normal(100, 3, 50)), 100.0
        case "lognormal":
            return lambda: list(100 * rng.lognormal(0, 0.03, 50)), 100.0
        case "heavy":
            return lambda: list((100 + 2 * rng.standard_t(1.5, 50)).clip(0)), 100.0
        case _:  # batches that differ from one another
            return lambda: list(100 * (1 + 0.01 * rng.normal()) + rng.normal(0, 2, 50)), 100.0


@pytest.mark.parametrize("name", ["normal", "lognormal", "heavy", "batches"])
def test_stopping_when_it_looks_good_does_not_spoil_the_interval(name: str) -> None:
    """Stopping on the interval itself makes it too narrow where it is computed for a fixed number of samples."""
    rng = np.random.default_rng(11)
    hits, trials = 0, 120
    for _ in range(trials):
        draw, median = truth(name, rng)
        found = collect(
            lambda _, draw=draw: Batch(tuple(draw()), Telemetry()),
            StopRule(warmup_seconds=0, maximum=800),
            lambda: 0.0,
        )
        seen = estimate_median(kept(found))
        assert seen.low is not None
        assert seen.high is not None
        hits += seen.low <= median <= seen.high
    assert hits / trials >= 0.92, hits / trials
