"""What a reader should know of a run of samples beside its median: that it drifts, that it has two modes."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from specforge.measure.samples import interval_rank, tick

if TYPE_CHECKING:
    from specforge.measure.series import Batch
    from specforge.measure.stopping import Stop

LEAST = 60
"""Samples below which nothing is said."""
SMALL = 0.05
"""A mode with a smaller share of the samples, or with fewer than FEW of them, is a tail."""
FEW = 10
VALLEY = 0.1
"""Between two modes, the middle third of the way holds fewer samples than this share of the smaller mode's."""
_SURE = 0.999


def describe(batches: Sequence[Batch], samples: Sequence[float], stop: Stop) -> tuple[str, ...]:
    """Sentences on a series: its shape, the batches that do not count, a median that did not settle."""
    found = describe_shape(samples, stop.asked)
    reasons = Counter(batch.discarded for batch in batches if batch.discarded is not None)
    found += [f"{count} of {len(batches)} batches do not count: {reason}" for reason, count in reasons.items()]
    if not stop.converged:
        reached = "unknown" if stop.precision is None else f"{100 * stop.precision:.2g} %"
        found.append(f"the median did not settle within {len(samples)} samples: known to {reached}")
    return tuple(found)


def describe_shape(samples: Sequence[float], precision: float) -> list[str]:
    """Sentences on drift and on two modes, where they are larger than the relative precision that was asked for."""
    if len(samples) < LEAST:
        return []
    return [sentence for sentence in (_drift(samples, precision), _modes(samples, precision)) if sentence is not None]


def _drift(samples: Sequence[float], precision: float) -> str | None:
    """The first half against the last: both medians, where their intervals of 99.9 % lie apart."""
    half = len(samples) // 2
    first, last = sorted(samples[:half]), sorted(samples[-half:])
    rank = interval_rank(half, _SURE)
    before, after = statistics.median(first), statistics.median(last)
    if rank is None or abs(after - before) <= precision / 2 * statistics.median(samples):
        return None
    low, high = (first, last) if before < after else (last, first)
    if low[half - 1 - rank] >= high[rank]:
        return None
    return f"the times drift: {_us(before)} in the first half, {_us(after)} in the last"


def _modes(samples: Sequence[float], precision: float) -> str | None:
    """The split into two groups that leaves the least variance inside them, where a valley lies between the groups."""
    ordered = sorted(samples)
    count, total = len(ordered), sum(ordered)
    least = max(FEW, int(SMALL * count))
    best, split, below = -1.0, 0, sum(ordered[:least])
    for number in range(least, count - least + 1):  # samples below the split
        apart = (total - below) / (count - number) - below / number
        between = number * (count - number) * apart * apart
        if between > best:
            best, split = between, number
        below += ordered[number] if number < count else 0.0
    low, high = statistics.median(ordered[:split]), statistics.median(ordered[split:])
    distance = high - low
    if distance <= max(precision * statistics.median(ordered), 3 * tick(ordered)):
        return None
    valley = sum(low + distance / 3 < sample < high - distance / 3 for sample in ordered)
    if valley > VALLEY * min(split, count - split):
        return None
    share = round(100 * split / count)
    return f"two modes: {share} % of the samples around {_us(low)}, {100 - share} % around {_us(high)}"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.4g} us"
