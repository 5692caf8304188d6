"""Collecting batches of samples until their median is known well enough, or until there is a reason to give up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median as middle
from typing import TYPE_CHECKING, Literal, NamedTuple

from specforge.measure.samples import BLOCKS, Median, estimate_median
from specforge.measure.shape import describe

if TYPE_CHECKING:
    from specforge.measure.series import Batch

Reason = Literal["precision", "samples", "seconds", "throttled"]
LEAST = 3
"""Samples in a batch, however long they take."""
SAME_CLOCK = 0.01
"""Share by which a steady clock's readings differ at most: a step of 15 MHz."""
SHARE = 1 / 3
"""Of the precision asked for: what half the interval must fall to. The rest is for what processes differ by."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why collecting ended."""

    reason: Reason
    precision: float | None
    """Half the median's interval as a share of it; None where there are too few samples for one."""
    asked: float
    """The precision that was asked for; collecting goes on to a third of it."""

    @property
    def converged(self) -> bool:
        """Whether the precision asked for was reached, be it without the margin."""
        return self.precision is not None and self.precision <= self.asked


@dataclass(frozen=True, slots=True)
class Progress:
    """How far collecting has come."""

    samples: int
    """Those that count."""
    batches: int
    """Those that count."""
    median: Median | None
    """None while fewer than BLOCKS batches count."""
    seconds: float
    """Wall time since the warm-up."""
    rejected: int
    """Batches that do not count."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Enough where the median is known to SHARE of what was asked, and which side of every bound it lies on.

    With fewer than BLOCKS batches nobody could see how far batches differ from one another.
    """

    asked: float
    minimum: int
    bounds: tuple[float, ...] = ()

    def __call__(self, progress: Progress) -> Reason | None:
        """`precision` where it is reached."""
        median = progress.median
        if median is None or median.low is None or median.high is None:
            return None
        if progress.samples < self.minimum or progress.batches < BLOCKS:
            return None
        open_ = any(median.low <= bound <= median.high for bound in self.bounds)
        return "precision" if median.precision <= self.asked * SHARE and not open_ else None


@dataclass(frozen=True, slots=True)
class MostSamples:
    """An end to how many samples are kept."""

    maximum: int

    def __call__(self, progress: Progress) -> Reason | None:
        """`samples` where there are so many."""
        return "samples" if progress.samples >= self.maximum else None


@dataclass(frozen=True, slots=True)
class WallBudget:
    """An end to how long it takes."""

    seconds: float

    def __call__(self, progress: Progress) -> Reason | None:
        """`seconds` where they are used up."""
        return "seconds" if progress.seconds >= self.seconds else None


@dataclass(frozen=True, slots=True)
class Retries:
    """An end to how often a batch that does not count is taken again."""

    retries: int

    def __call__(self, progress: Progress) -> Reason | None:
        """`throttled` where one more batch was rejected than may be taken again."""
        return "throttled" if progress.rejected > self.retries else None


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a case has samples enough, of what batches they come, and what is thrown away ahead of them."""

    precision: float = 0.01
    """Asked for: half the median's interval of 95 % as a share of it, between-process variance left aside."""
    bounds: tuple[float, ...] = ()
    """Seconds that targets draw a line at: while one lies inside the interval, collecting goes on."""
    minimum: int = 64
    maximum: int = 2000
    seconds: float = 3.0
    """Wall budget without the warm-up."""
    retries: int = 10
    """How many rejected batches are taken again."""
    batch: int = 50
    """Samples of a batch at most. The first BLOCKS batches are as small as the minimum allows."""
    batch_seconds: float = 0.05
    """About how long a batch of slow launches may take; it has at least 3."""
    warmup_launches: int = 10
    """Fewer where they take longer than `warmup_seconds`."""
    warmup_seconds: float = 0.1
    """The most that a warm-up takes. It ends sooner where two batches in a row, and the clocks after them, agree."""

    @property
    def rules(self) -> tuple[Callable[[Progress], Reason | None], ...]:
        """What ends collecting; where several apply, the first names the reason."""
        return (
            Precision(self.precision, self.minimum, self.bounds),
            Retries(self.retries),
            MostSamples(self.maximum),
            WallBudget(self.seconds),
        )


class Collected(NamedTuple):
    """Batches in the order taken, rejected ones among them, and what came before them."""

    batches: tuple[Batch, ...]
    warmup: int
    """Samples thrown away ahead of the first batch."""
    stop: Stop
    notes: tuple[str, ...]
    """For a reader: drift, two modes, rejected batches, a median that did not settle."""


def collect(
    take: Callable[[int], Batch],
    rule: StopRule,
    clock: Callable[[], float] = time.monotonic,
    *,
    reject: Callable[[Batch], str | None] | None = None,
) -> Collected:
    """Take batches until a rule ends it; `take(n)` takes n samples, or fewer.

    The warm-up brings the card to its clocks; no sample is chosen by its value. A batch that `reject` has a reason
    against is kept with it, does not count, and is taken again as often as the rule allows; one that came discarded is
    treated the same. Raises ValueError where a clock gave times that are none.
    """
    warmup, most = _warm_up(take, rule, clock)
    size = _first_size(rule, most)
    batches: list[Batch] = []
    samples: list[float] = []
    rejected, start = 0, clock()
    while True:
        batch = take(min(size, rule.maximum - len(samples)))
        if not batch.samples or not all(math.isfinite(sample) and sample >= 0 for sample in batch.samples):
            raise ValueError("the card's clock gave times that are none")
        reason = batch.discarded or (reject(batch) if reject is not None else None)
        if reason is None:
            samples += batch.samples
        else:
            rejected += 1
            batch = replace(batch, discarded=reason)
        batches.append(batch)
        enough = len(batches) - rejected >= BLOCKS  # before, nobody asks for it, and it takes longer than a launch
        median = estimate_median(samples) if enough else None
        progress = Progress(len(samples), len(batches) - rejected, median, clock() - start, rejected)
        ended = next((reason for reason in (due(progress) for due in rule.rules) if reason is not None), None)
        if ended is not None:
            break
        size = _next_size(rule, progress, size, most)
    median = median or (estimate_median(samples) if samples else None)
    precision = median.precision if median is not None and math.isfinite(median.precision) else None
    stop = Stop(ended, precision, rule.precision)
    return Collected(tuple(batches), warmup, stop, describe(batches, samples, stop))


def _warm_up(take: Callable[[int], Batch], rule: StopRule, clock: Callable[[], float]) -> tuple[int, int]:
    """Samples thrown away, and the most that a batch is to have by the time a warm sample takes.

    A card that has just worked is warm: two batches in a row whose medians lie within the precision asked for, at the
    same clock, are enough. One whose clocks rise, or are not told, gets the whole time.
    """
    taken, most, start = 0, rule.batch, clock()
    size, last = max(LEAST, -(-rule.warmup_launches // 2)), None  # two batches, where they agree
    while True:
        batch = take(min(size, most))
        if not batch.samples:
            raise ValueError("the card's clock gave no times")
        taken += len(batch.samples)
        mean = sum(batch.samples) / len(batch.samples)
        if mean > 0 and math.isfinite(mean):
            most = min(rule.batch, max(LEAST, int(rule.batch_seconds / mean)))
        warm = last is not None and _agree(last, batch, rule.precision)
        if clock() - start >= rule.warmup_seconds or (warm and taken >= rule.warmup_launches):
            return taken, most
        last = batch


def _agree(before: Batch, after: Batch, precision: float) -> bool:
    """Whether two batches took the same time at the same clock; a clock that is not told agrees with none."""
    one, other = before.telemetry.sm_clock, after.telemetry.sm_clock
    if one is None or other is None or abs(one - other) > SAME_CLOCK * other:
        return False
    return abs(middle(before.samples) - middle(after.samples)) <= precision * middle(after.samples)


def _first_size(rule: StopRule, most: int) -> int:
    """Of a batch: BLOCKS of them are the fewest samples that there may be."""
    return min(most, max(LEAST, -(-rule.minimum // BLOCKS)))


def _next_size(rule: StopRule, progress: Progress, size: int, most: int) -> int:
    """Of the next batch: once there are BLOCKS, as many samples as are missing yet, by the square of the precision."""
    if progress.batches < BLOCKS or progress.median is None:
        return size
    short = progress.median.precision / (rule.precision * SHARE)
    missing = progress.samples * (short * short - 1) if math.isfinite(short) else most
    return min(most, max(size, math.ceil(min(missing, most))))
