"""Who wins: the fastest that is right, and only by more than chance."""

from __future__ import annotations

import math
from typing import Any

import pytest

from specforge.spec.domain import Domain
from specforge.tune.race import FINALISTS, Undecided, race
from tests.tune.planted import PlantedClock, space

WARPS = {"warps": Domain(listed=(1, 2, 4, 8, 16))}
HERE = {"warps": 4}
SPEEDS = {1: 1.5e-6, 2: 1.2e-6, 4: 1.0e-6, 8: 0.9e-6, 16: 0.5e-6}


def speed(one: dict[str, Any]) -> float:
    return SPEEDS[one["warps"]]


def test_the_fastest_wins() -> None:
    found = race(space(HERE, **WARPS), PlantedClock(speed))
    assert dict(found.winner) == {"warps": 16}
    assert found.tried == 5
    assert found.against_default is not None
    assert found.against_default.ratio == pytest.approx(0.5, abs=0.01)
    assert set(found.times) >= {found.default, found.winner}


@pytest.mark.parametrize("when", ["wrong", "late"])
def test_a_wrong_configuration_never_wins(when: str) -> None:
    clock = PlantedClock(speed, **{when: lambda one: one["warps"] == 16})
    found = race(space(HERE, **WARPS), clock)
    assert dict(found.winner) == {"warps": 8}
    assert (("warps", 16),) not in found.times


def test_noisy_ties_keep_the_default() -> None:
    """Twelve configurations that are all alike, some lucky: in 200 runs hardly one takes the default's place."""
    where = space({"warps": 4, "unroll": 1}, warps=Domain(listed=(1, 2, 4, 8)), unroll=Domain(listed=(1, 2, 4)))
    changed = 0
    for seed in range(200):
        clock = PlantedClock(lambda one: 1e-6, rough_noise=0.05, between=0.004, seed=seed)
        changed += race(where, clock).winner != where.default
    assert changed <= 4


def test_a_gain_that_does_not_matter_keeps_the_default() -> None:
    clock = PlantedClock(lambda one: 0.995e-6 if one["warps"] == 16 else 1e-6, rough_noise=0.001, between=0.0005)
    found = race(space(HERE, **WARPS), clock)
    assert dict(found.winner) == HERE
    assert found.against_default is None


def test_what_is_in_force_is_timed_again_and_kept_among_equals() -> None:
    previous = (("warps", 8),)
    clock = PlantedClock(lambda one: 0.9e-6 if one["warps"] in (8, 16) else 1e-6)
    found = race(space(HERE, **WARPS), clock, previous)
    assert (found.winner, found.previous, found.against_previous) == (previous, previous, None)
    assert len(clock.finals) <= FINALISTS + 2
    assert previous in clock.finals


def test_what_is_in_force_yields_to_something_faster() -> None:
    found = race(space(HERE, **WARPS), PlantedClock(speed), (("warps", 8),))
    assert dict(found.winner) == {"warps": 16}
    assert found.against_previous is not None
    assert found.against_previous.ratio == pytest.approx(5 / 9, abs=0.01)


def test_what_is_in_force_yields_to_the_default_where_it_is_no_faster_any_more() -> None:
    found = race(space(HERE, **WARPS), PlantedClock(lambda one: 1e-6, between=0.001), (("warps", 8),))
    assert found.winner == found.default
    assert found.against_previous is not None


def test_a_hint_from_an_older_kernel_has_no_precedence() -> None:
    clock = PlantedClock(lambda one: 1e-6, between=0.001)
    assert race(space(HERE, **WARPS), clock, (("warps", 8),), in_force=False).winner == (("warps", 4),)
    assert race(space(HERE, **WARPS), clock, (("warps", 32),), in_force=False).previous is None
    assert race(space(HERE, **WARPS), clock, (("lanes", 8),), in_force=False).previous is None


@pytest.mark.parametrize("when", ["wrong", "late"])
def test_without_a_default_nothing_is_decided(when: str) -> None:
    clock = PlantedClock(speed, **{when: lambda one: one["warps"] == 4})
    with pytest.raises(Undecided):
        race(space(HERE, **WARPS), clock)


def test_only_the_best_few_are_timed_at_full_precision() -> None:
    where = space({"splits": 64}, splits=Domain((), 1, 4096))
    clock = PlantedClock(lambda one: 1e-6 * (1 + 0.1 * abs(math.log2(one["splits"] / 512))), rough_noise=0.01)
    found = race(where, clock, most=80)
    assert len(clock.finals) <= FINALISTS + 1
    assert 380 <= dict(found.winner)["splits"] <= 690
