from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.backend.telemetry import HARMFUL, CardWatch, Telemetry
from specforge.measure.series import Batch
from specforge.measure.stopping import Collected, StopRule
from specforge.measure.throttle import CONDITION, Throttle, collect_steadily, reference_of, reject
from tests.nvml import UUID, install

WARM = Telemetry(sm_clock=1980e6, memory_clock=2619e6, ecc_uncorrected=0, ecc_corrected=0)
CAPPED = replace(WARM, sm_clock=1590e6, throttled=(CONDITION,))
IDLE = replace(WARM, sm_clock=345e6, conditions=("idle",))


class Card:
    """A case whose launches take 20 us at 1980 MHz; the card's state at each look comes from a script."""

    def __init__(self, states: Callable[[int], Telemetry]) -> None:
        self.states, self.looks, self.now = states, 0, 0.0
        self.random = random.Random(2)

    def look(self) -> Telemetry:
        self.looks += 1
        return self.states(self.looks)

    def take(self, count: int) -> Batch:
        state = self.look()
        launch = 20e-6 * 1980e6 / (state.sm_clock or 1980e6)
        samples = tuple(launch * (1 + abs(self.random.gauss(0, 0.02))) for _ in range(count))
        self.now += sum(samples) + 0.01
        return Batch(samples, state)

    def measure(self, start: Telemetry = IDLE, **rule: float) -> Collected:
        return collect_steadily(
            self.take, StopRule(precision=0.001, **rule), start, lambda: self.now  # type: ignore[arg-type]
        )  # fmt: skip


def kept(found: Collected) -> list[Batch]:
    return [batch for batch in found.batches if batch.discarded is None]


def test_a_steady_card_loses_nothing() -> None:
    found = Card(lambda look: WARM).measure()
    assert kept(found) == list(found.batches)
    assert found.stop.reason in ("precision", "samples")
    assert not [note for note in found.notes if "MHz" in note or "slowed" in note]


def test_a_throttling_step_in_the_middle_costs_its_batches_only() -> None:
    hot = replace(WARM, sm_clock=1200e6, throttled=("hw_thermal",))
    found = Card(lambda look: hot if 20 <= look < 24 else WARM).measure()
    spoilt = [batch for batch in found.batches if batch.discarded is not None]
    assert len(spoilt) == 5  # the one after begins slowed
    assert "slowed right after the batch: hw_thermal" in (spoilt[0].discarded or "")
    assert "slowed right before the batch: hw_thermal" in (spoilt[-1].discarded or "")
    assert all(batch.telemetry is WARM for batch in kept(found))
    assert all(batch.samples for batch in spoilt)  # discarded is not thrown away
    assert any("5 of" in note or "batches do not count" in note for note in found.notes)


def test_slow_clocks_without_any_reason_are_found() -> None:
    slow = replace(WARM, sm_clock=1700e6)
    found = Card(lambda look: slow if look in (20, 21) else WARM).measure()
    assert [batch.discarded for batch in found.batches if batch.discarded] == [
        "the SM clock fell below 95% of this case's own"
    ] * 2
    memory = replace(WARM, memory_clock=1593e6)
    found = Card(lambda look: memory if look == 20 else WARM).measure()
    assert [batch.discarded for batch in found.batches if batch.discarded] == [
        "the memory clock fell below 95% of this case's own"
    ]


def test_a_card_at_its_power_limit_throughout_fills_its_table() -> None:
    """nvbench compares with the maximum boost, and then keeps nothing."""
    rng = random.Random(5)
    found = Card(lambda look: replace(CAPPED, sm_clock=1590e6 + 15e6 * rng.randrange(-2, 3))).measure()
    assert kept(found) == list(found.batches)
    assert any("at the card's power limit, at a steady 1" in note for note in found.notes)


def test_a_power_limit_that_comes_and_goes_from_the_start_fills_its_table() -> None:
    found = Card(lambda look: replace(CAPPED, throttled=(CONDITION,) if look % 3 else ())).measure()
    assert kept(found) == list(found.batches)


def test_a_power_limit_that_bites_after_the_warm_up_is_a_new_state() -> None:
    found = Card(lambda look: WARM if look < 15 else CAPPED).measure(seconds=60)
    assert kept(found)
    assert all(batch.telemetry.sm_clock == 1590e6 for batch in kept(found))
    assert "another state" in (found.batches[0].discarded or "")
    assert found.stop.reason != "throttled"
    assert any("power limit" in note for note in found.notes)


def test_a_card_that_stays_hot_or_shared_is_given_up() -> None:
    for state in (
        replace(WARM, throttled=("sw_thermal",)),
        replace(WARM, foreign_processes=(9,)),
        replace(WARM, ecc_uncorrected=1),
    ):
        found = Card(lambda look, state=state: WARM if look < 15 else state).measure(retries=4)  # type: ignore[misc]
        assert found.stop.reason == "throttled"
        assert len([batch for batch in found.batches if batch.discarded]) == 5
        assert all(batch.telemetry is WARM for batch in kept(found))


def test_who_was_there_from_the_start_is_noted_and_who_comes_spoils() -> None:
    desk = replace(WARM, foreign_processes=(3,))
    found = Card(lambda look: desk).measure(start=desk)
    assert kept(found) == list(found.batches)
    assert "other processes were on the card: 3" in found.notes
    found = Card(lambda look: replace(desk, foreign_processes=(3, 9)) if look == 20 else desk).measure(start=desk)
    assert {batch.discarded for batch in found.batches} == {None, "other processes came to the card: 9"}
    # one that came during the warm-up is a stranger too
    assert reference_of(IDLE, [desk, desk]).foreign == frozenset()


@pytest.mark.parametrize("stays", [False, True])
def test_who_is_seen_only_at_the_end_spoils_it_all(stays: bool) -> None:
    card = Card(lambda look: WARM)
    looks = iter([replace(WARM, foreign_processes=(9,)), replace(WARM, foreign_processes=(9,) if stays else ())])
    found = collect_steadily(card.take, StopRule(), IDLE, lambda: card.now, look=lambda: next(looks))
    reasons = {batch.discarded for batch in found.batches}
    assert reasons == {"other processes came to the card: 9"} | (set() if stays else {None})
    assert found.stop.reason == ("throttled" if stays else "precision")
    assert found.stop.converged is not stays


@pytest.mark.parametrize("fault", ["process", "memory"])
def test_what_glances_do_not_see_is_found_by_the_recount(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    library = install(monkeypatch)
    with CardWatch(UUID, clock=lambda: 0.0) as watch:  # no time passes: every batch's reading is a glance
        start = watch.read()
        card = Card(lambda look: watch.glance())

        def take(count: int) -> Batch:
            if card.looks == 8:
                library.compute = [(9, 100)] if fault == "process" else []
                library.answers["GetTotalEccErrors"] = lambda kind, counter: int(fault == "memory")
            return card.take(count)

        found = collect_steadily(take, StopRule(), start, lambda: card.now, look=watch.recount)
    said = {"process": "other processes came to the card: 9", "memory": "the card counted 1 uncorrected memory errors"}
    assert {batch.discarded for batch in found.batches} == {said[fault]}
    assert found.stop.reason == "throttled"


def test_corrected_errors_are_noted() -> None:
    found = Card(lambda look: replace(WARM, ecc_corrected=look)).measure()
    assert kept(found) == list(found.batches)
    assert any("corrected" in note for note in found.notes)


def test_a_card_that_tells_nothing_is_measured_and_said() -> None:
    blind = Telemetry(reason="no NVIDIA driver")
    found = Card(lambda look: blind).measure(start=blind)
    assert kept(found) == list(found.batches)
    assert "nothing is known of the card's state: no NVIDIA driver" in found.notes
    mute = Telemetry(missing={"sm_clock": "Not Supported"})
    assert "not known of the card: sm_clock (Not Supported)" in Card(lambda look: mute).measure(start=mute).notes
    # a power limit that held throughout is a condition also where the clock that goes with it is not told
    muted = replace(mute, throttled=(CONDITION,))
    found = Card(lambda look: muted).measure(start=mute)
    assert kept(found) == list(found.batches)


def test_clocks_that_rise_during_the_warm_up_are_no_reference() -> None:
    climb: Iterator[float] = iter([600e6, 1200e6, 1800e6])
    throttle = Throttle(IDLE)
    for _ in range(3):
        throttle.observe(replace(WARM, sm_clock=next(climb)))
    for _ in range(4):
        throttle.observe(WARM)
    assert throttle.reject(Batch((1.0,), WARM)) is None
    assert throttle.reject(Batch((1.0,), replace(WARM, sm_clock=1800e6))) is not None


def test_the_reference_follows_a_slow_drift_and_says_so() -> None:
    found = Card(lambda look: replace(WARM, sm_clock=1980e6 - 3e6 * look)).measure(seconds=60)
    clocks = [batch.telemetry.sm_clock or 0 for batch in kept(found)]
    if min(clocks) < 0.95 * max(clocks):
        assert any("the SM clock went from" in note for note in found.notes)


@given(st.sets(st.sampled_from(sorted(HARMFUL)), min_size=1), st.booleans())
def test_a_harmful_reason_is_always_a_reason_unless_it_is_the_condition(held: set[str], early: bool) -> None:
    slowed = replace(WARM, throttled=tuple(held))
    pair = (slowed, WARM) if early else (WARM, slowed)
    assert reject(*pair, reference_of(IDLE, [WARM] * 3)) is not None
    assert (reject(*pair, reference_of(IDLE, [CAPPED] * 3)) is None) is (held == {CONDITION})


@given(st.lists(st.floats(0.976, 1.024), min_size=3, max_size=30), st.floats(0.2, 0.9))
def test_a_clock_that_wanders_counts_and_one_that_falls_does_not(wander: list[float], fall: float) -> None:
    throttle = Throttle(IDLE)
    for _ in range(4):
        throttle.observe(WARM)
    for share in wander:
        assert throttle.reject(Batch((1.0,), replace(WARM, sm_clock=1980e6 * share))) is None
    assert throttle.reject(Batch((1.0,), replace(WARM, sm_clock=1980e6 * fall))) is not None


def test_through_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    library = install(monkeypatch)
    looks = iter(range(10**6))

    def reasons() -> int:
        return HARMFUL["hw_slowdown"] if next(looks) == 20 else 1

    library.answers["GetCurrentClocksEventReasons"] = reasons
    with CardWatch(UUID) as watch:
        found = Card(lambda look: watch.read()).measure(start=watch.read())
    assert [batch.discarded for batch in found.batches if batch.discarded] == [
        "the card was slowed right after the batch: hw_slowdown",
        "the card was slowed right before the batch: hw_slowdown",
    ]
