"""The measured part of a record: every sample of every process, what it was taken under, and what they say together.

Times are seconds per launch group with seven significant digits, finer than any event's resolution.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from specforge.record.entry import Entry


class StopEntry(Entry):
    """Why a series ended."""

    reason: Literal["precision", "samples", "seconds", "throttled"]
    precision: float | None
    """What was reached: half the median's interval as a share of it."""
    asked: float


class BatchEntry(Entry):
    """Samples taken in one go."""

    samples: list[float]
    """In the order taken."""
    telemetry: dict[str, Any]
    """The card right after them: clocks in hertz, watts, degrees, whatever slowed it; what the card does not say is
    left out, and the round's own telemetry says why."""
    discarded: str | None = None
    """Why the batch does not count."""


class SeriesEntry(Entry):
    """One mode, or one launch, in one process."""

    groups: int
    """Launch groups inside one sample, which is divided by them."""
    warmup: int
    """Samples thrown away ahead of the first batch."""
    stop: StopEntry
    batches: list[BatchEntry]
    notes: list[str] = Field(default=[])

    @property
    def samples(self) -> list[float]:
        """Those of the batches that count, in order."""
        return [sample for batch in self.batches if batch.discarded is None for sample in batch.samples]


class RoundEntry(Entry):
    """One fresh process."""

    card: str
    uuid: str
    binary_sha256: str
    cold: Literal["proven", "unproven", "hot"]
    copies: dict[str, int]
    """By tensor, how many the launches rotated through."""
    cold_bytes: int
    rotated_bytes: int
    """Bytes that pass through L2 before a cold tensor is used again."""
    series: dict[str, SeriesEntry]
    """By mode: isolated, amortised, overlapped."""
    launches: dict[str, SeriesEntry]
    """Each launch of a group of several alone, by entry, without telemetry."""
    energy: dict[str, Any] | None
    telemetry: dict[str, Any] | None
    """The card before anything was timed."""
    refusal: str | None
    notes: list[str]
    seconds: float


class EstimateEntry(Entry):
    """What all processes say together."""

    value: float
    low: float
    high: float
    """95 %, what processes differ by included."""
    within: float | None
    """Half the interval that the samples inside the processes leave open."""
    between: float | None
    """Standard deviation of the processes' medians."""
    processes: int


class MeasurementEntry(Entry):
    """One case over all its processes."""

    rounds: list[RoundEntry]
    estimates: dict[str, EstimateEntry]
    """By mode, seconds per launch group; `energy` in joules."""
    telling: list[str] = Field(default=[])
    """Where modes tell different stories."""


class SessionEntry(Entry):
    """What the run measured once, and how it held the card."""

    event_overhead: float | None
    """Seconds between two events with nothing between them."""
    null_kernel: dict[str, float]
    """Seconds of a kernel that does nothing, by mode."""
    rates: dict[str, float]
    """What the calibration kernels reach: `read` and `copy` in bytes per second, cold and amortised, and operations per
    second of mma.sync by type."""
    calibration: list[dict[str, Any]]
    """Every point that was measured."""
    missing: dict[str, str]
    """By name, why there is no figure."""
    clocks: str | None
    """The clocks policy: as found, or locked and whether that held; none where nothing was measured."""
    telemetry_missing: dict[str, str]
    """What NVML does not tell of this card, and why."""
    foreign_processes: list[int]
    """Others that used the card at any moment that was looked at."""
    notes: list[str]
