"""Whether a batch of samples was taken on a card as it was when warm; what was not does not count, and says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from specforge.backend.telemetry import Telemetry
from specforge.measure.stopping import Collected, Stop, StopRule, collect

if TYPE_CHECKING:
    from specforge.measure.series import Batch

LEAST_CLOCK = 0.95
"""A batch does not count where a clock stands below this share of the case's own.

Compared with what this case ran at, never with the maximum boost: a power-capped card never reaches that. A governor
steps by 7.5 or 15 MHz, under 1 %, and wanders over a few steps; what slows a card on purpose takes 10 % and more. What
lies between shows in the samples, and so in their interval.
"""
STEADY = 3
"""So many readings in a row that agree make a steady state."""
CONDITION = "sw_power_cap"
"""The one harmful reason under which a card can run steadily: at its power limit it finds a clock and keeps it."""

_WANTED = ("sm_clock", "memory_clock", "throttled", "foreign_processes")


@dataclass(frozen=True, slots=True)
class Reference:
    """The card when warm: what batches are compared with. Hertz; None where the card does not say."""

    sm_clock: float | None
    memory_clock: float | None
    conditions: frozenset[str]
    """Harmful reasons that held steadily at a steady clock; they are how this card runs this case."""
    foreign: frozenset[int]
    """Processes that were on the card throughout."""
    ecc_uncorrected: int | None


def reference_of(start: Telemetry, warm: Sequence[Telemetry]) -> Reference:
    """The reference from a reading before the work began and readings of the warm card, one at least."""
    sm_clock, memory_clock = _middle(r.sm_clock for r in warm), _middle(r.memory_clock for r in warm)
    steady = all(
        r.sm_clock is None or sm_clock is None or abs(r.sm_clock / sm_clock - 1) <= 1 - LEAST_CLOCK for r in warm
    )
    capped = sum(CONDITION in r.throttled for r in warm) * 2 >= len(warm)
    return Reference(
        sm_clock,
        memory_clock,
        frozenset({CONDITION} if capped and steady else ()),
        frozenset.intersection(*(frozenset(r.foreign_processes) for r in (start, *warm))),
        start.ecc_uncorrected,
    )


def reject(before: Telemetry, after: Telemetry, reference: Reference) -> str | None:
    """Why the batch between two readings does not count; None where nothing speaks against it."""
    for when, reading in (("after", after), ("before", before)):
        held = [name for name in reading.throttled if name not in reference.conditions]
        if held:
            return f"the card was slowed right {when} the batch: {', '.join(held)}"
    for name, clock, usual in (
        ("SM", after.sm_clock, reference.sm_clock),
        ("memory", after.memory_clock, reference.memory_clock),
    ):
        if clock is not None and usual is not None and clock < LEAST_CLOCK * usual:
            return f"the {name} clock fell below {LEAST_CLOCK:.0%} of this case's own"
    return _intrusion(before, after, reference)


def _intrusion(before: Telemetry, after: Telemetry, reference: Reference) -> str | None:
    """Memory errors, or processes that came."""
    errors = 0 if after.ecc_uncorrected is None else after.ecc_uncorrected - (reference.ecc_uncorrected or 0)
    if errors > 0 and reference.ecc_uncorrected is not None:
        return f"the card counted {errors} uncorrected memory errors"
    came = sorted({*before.foreign_processes, *after.foreign_processes} - reference.foreign)
    if came:
        return f"other processes came to the card: {', '.join(map(str, came))}"
    return None


def collect_steadily(
    take: Callable[[int], Batch],
    rule: StopRule,
    start: Telemetry,
    clock: Callable[[], float] = time.monotonic,
    *,
    look: Callable[[], Telemetry] | None = None,
) -> Collected:
    """As `collect`, with batches that the card spoilt taken again; `start` is a reading from before the work began.

    A case that was given up is tried once more where the card has settled: a power limit may bite only after the
    warm-up. What was taken until then does not count, as two states of a card have no common median. The batches'
    readings may be glances; once they are done `look` counts processes and memory errors, and what it finds spoils all
    of them, once more.
    """
    throttle = Throttle(start)

    def observed(count: int) -> Batch:
        batch = take(count)
        throttle.observe(batch.telemetry)
        return batch

    def collected() -> Collected:
        return collect(observed, rule, clock, reject=throttle.reject)

    found = collected()
    if found.stop.reason == "throttled" and throttle.renew():
        found = _after(found, "taken before the card settled into another state", collected())
    if look is not None and found.stop.reason != "throttled":
        reason = throttle.intruded(look())
        if reason is not None:
            found = _after(found, reason, collected())
            reason = throttle.intruded(look())
            if reason is not None:
                stop = Stop("throttled", None, rule.precision)
                found = found._replace(batches=_spoilt(found.batches, reason), stop=stop)
    return found._replace(notes=(*throttle.notes(), *found.notes))


def _after(found: Collected, reason: str, again: Collected) -> Collected:
    """What collecting anew gave, behind batches that do not count for a reason."""
    batches = (*_spoilt(found.batches, reason), *again.batches)
    return Collected(batches, found.warmup + again.warmup, again.stop, again.notes)


def _spoilt(batches: Iterable[Batch], reason: str) -> tuple[Batch, ...]:
    return tuple(replace(batch, discarded=batch.discarded or reason) for batch in batches)


class Throttle:
    """Judges one case's batches as they come. Every reading is observed in order, those of the warm-up too.

    The reference is the later half of what was observed ahead of the first batch that is to count, when the clocks have
    risen; its clocks then follow the middle of the batches that count.
    """

    def __init__(self, start: Telemetry) -> None:
        self._readings = [start]
        self._reference: Reference | None = None
        self._kept: list[Telemetry] = []
        self._renewed = False

    def observe(self, telemetry: Telemetry) -> None:
        """Take note of the reading after a batch."""
        self._readings.append(telemetry)

    def reject(self, batch: Batch) -> str | None:
        """Why the batch just observed does not count; None where nothing speaks against it."""
        if self._readings[-1] is not batch.telemetry:
            self.observe(batch.telemetry)
        *earlier, after = self._readings
        if self._reference is None:
            self._reference = reference_of(earlier[0], earlier[len(earlier) // 2 :])
        reason = reject(earlier[-1], after, self._reference)
        if reason is None:
            self._kept.append(after)
            if len(self._kept) >= STEADY:
                sm_clock, memory_clock = (
                    _middle(r.sm_clock for r in self._kept),
                    _middle(r.memory_clock for r in self._kept),
                )
                self._reference = replace(self._reference, sm_clock=sm_clock, memory_clock=memory_clock)
        return reason

    def intruded(self, now: Telemetry) -> str | None:
        """Who came to the card, or what went wrong in its memory, by a reading after the batches."""
        self.observe(now)
        return None if self._reference is None else _intrusion(now, now, self._reference)

    def renew(self) -> bool:
        """Judge anew from the state that the card has settled into; false where it has not, and for a second time.

        For a case that was given up: a card may come under its power limit only after the warm-up. What was taken
        before counts no more, as two states have no common median.
        """
        last = self._readings[-STEADY:]
        if self._renewed or len(self._readings) <= STEADY:
            return False
        fresh = reference_of(self._readings[0], last)
        if any(reject(reading, reading, fresh) for reading in last):
            return False
        self._renewed, self._reference, self._kept = True, fresh, []
        return True

    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the card during this case."""
        first, last = self._readings[0], self._readings[-1]
        reference = self._reference or reference_of(first, self._readings[1:] or [first])
        found = []
        if last.reason is not None:
            found.append(f"nothing is known of the card's state: {last.reason}")
        if reference.conditions:
            at = "" if reference.sm_clock is None else f", at a steady {reference.sm_clock / 1e6:.0f} MHz"
            found.append(f"measured at the card's power limit{at}")
        if reference.foreign:
            found.append(f"other processes were on the card: {', '.join(map(str, sorted(reference.foreign)))}")
        clocks = [r.sm_clock for r in self._kept if r.sm_clock is not None]
        if clocks and min(clocks) < LEAST_CLOCK * max(clocks):
            found.append(f"the SM clock went from {min(clocks) / 1e6:.0f} to {max(clocks) / 1e6:.0f} MHz")
        corrected = [r.ecc_corrected for r in self._readings if r.ecc_corrected is not None]
        if corrected and corrected[-1] > corrected[0]:
            found.append(f"the card corrected {corrected[-1] - corrected[0]} memory errors")
        found += [f"not known of the card: {name} ({last.missing[name]})" for name in _WANTED if name in last.missing]
        return tuple(found)


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
