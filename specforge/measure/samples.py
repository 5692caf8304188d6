"""The middle of a set of samples and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Median:
    """A median with its confidence interval, in the unit of the samples.

    `low` and `high` are samples themselves (order statistics), so nothing is assumed of the distribution; None where
    there are too few samples for the confidence asked.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def precision(self) -> float:
        """Half the interval's width as a share of the median; infinite without an interval."""
        if self.low is None or self.high is None or self.value <= 0:
            return math.inf
        return (self.high - self.low) / 2 / self.value


def estimate_median(samples: Sequence[float], confidence: float = CONFIDENCE) -> Median:
    """The median of at least one sample; raises ValueError for none."""
    ordered = sorted(samples)
    count = len(ordered)
    if count == 0:
        raise ValueError("no samples")
    middle = count // 2
    value = ordered[middle] if count % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    rank = interval_rank(count, confidence)
    if rank is None:
        return Median(value, None, None)
    return Median(value, ordered[rank], ordered[count - 1 - rank])


def interval_rank(count: int, confidence: float) -> int | None:
    """The largest r for which samples r and count-1-r (from 0, in order) enclose the true median with `confidence`.

    How many of `count` samples fall below the median is binomial with one half, exactly; the two tails beyond the ranks
    share what the confidence leaves. None where even the extremes do not suffice.
    """
    tail, rank = 0.0, -1
    while rank < count // 2:
        ways = math.lgamma(count + 1) - math.lgamma(rank + 2) - math.lgamma(count - rank)
        tail += math.exp(ways - count * math.log(2))
        if tail > (1 - confidence) / 2:
            break
        rank += 1
    return rank if rank >= 0 else None
