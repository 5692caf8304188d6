"""The middle of a run of samples and how well it is known, whatever their distribution and their dependence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

CONFIDENCE = 0.95
BLOCKS = 8
"""Pieces that a run of samples is cut into, to see how far it is from independent draws."""
_STUDENT = 2.3646
"""Student's t for BLOCKS - 1 degrees of freedom, 95 %."""
_TICK_SHARE = 0.25
"""Coarser than this share of the median, equal gaps between samples are taken for modes and not for a clock's ticks."""


@dataclass(frozen=True, slots=True)
class Median:
    """A median with its confidence interval of 95 %, in the unit of the samples; no bounds where there are too few."""

    value: float
    low: float | None
    high: float | None

    @property
    def precision(self) -> float:
        """Half the interval's width as a share of the median; infinite without an interval."""
        if self.low is None or self.high is None or self.value <= 0:
            return math.inf
        return (self.high - self.low) / 2 / self.value


def estimate_median(samples: Sequence[float]) -> Median:
    """The median of samples in the order taken; raises ValueError for none.

    Nothing is assumed of their distribution: the interval ends in order statistics (Woodruff 1952). How far out these
    lie is the wider of two: the binomial's for independent samples, and what the share of samples below the median
    varies by between BLOCKS consecutive pieces of the run. Samples that drift, that come in spells, or that jump in the
    middle thus get the wide interval they deserve. Simulated coverage with 400 samples: independent 97 %, an
    autoregressive run with coefficient 0.6 95 % and with 0.9 94 %, where the binomial alone gives 77 % and 45 %.

    Where a clock's tick is seen, a sample stands for its whole tick, spread evenly (the median of grouped data): the
    middle of many samples is known far better than one tick.
    """
    count = len(samples)
    if count == 0:
        raise ValueError("no samples")
    ordered = sorted(samples)
    step = tick(ordered)
    value = _quantile(ordered, 0.5, step)
    rank = interval_rank(count, CONFIDENCE)
    if rank is None:
        return Median(value, None, None)
    half = max(0.5 - (rank + 0.5) / count, _block_half(samples, ordered))
    lowest, highest = 0.5 / count, 1 - 0.5 / count  # within the outermost samples
    low = _quantile(ordered, max(0.5 - half, lowest), step)
    high = _quantile(ordered, min(0.5 + half, highest), step)
    return Median(value, low, high)


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


def tick(ordered: Sequence[float]) -> float:
    """The step of the clock that sorted samples show: the gap that all gaps are multiples of; 0 where none is."""
    gaps = [after - before for before, after in pairwise(ordered)]
    fine = 1e-6 * abs(ordered[-1])  # times go through single precision
    gaps = [gap for gap in gaps if gap > fine]
    step = min(gaps, default=0.0)
    if not gaps or step > _TICK_SHARE * ordered[len(ordered) // 2] or 2 * len(gaps) > len(ordered):
        return 0.0
    allowed = max(fine, 0.02 * step)
    return step if all(abs(gap - round(gap / step) * step) <= allowed for gap in gaps) else 0.0


def _block_half(samples: Sequence[float], ordered: Sequence[float]) -> float:
    """Half an interval for the share of samples below the median, from how that share varies between blocks."""
    count = len(samples)
    if count < 2 * BLOCKS:
        return 0.0
    middle = _quantile(ordered, 0.5, 0.0)
    below = [1.0 if sample < middle else 0.5 if sample == middle else 0.0 for sample in samples]
    edges = [number * count // BLOCKS for number in range(BLOCKS + 1)]
    shares = [sum(below[a:b]) / (b - a) for a, b in pairwise(edges)]
    mean = sum(shares) / BLOCKS
    spread = math.sqrt(sum((share - mean) ** 2 for share in shares) / (BLOCKS - 1))
    return _STUDENT * spread / math.sqrt(BLOCKS)


def _quantile(ordered: Sequence[float], share: float, step: float) -> float:
    """The value below which a share of sorted samples lies; interpolated in a clock's tick, or between neighbours."""
    count = len(ordered)
    place = min(max(share * count - 0.5, 0.0), count - 1.0)
    if step:
        found = ordered[round(place)]
        same = [n for n, sample in enumerate(ordered) if abs(sample - found) < step / 2]
        return found + step * ((share * count - same[0]) / len(same) - 0.5)
    whole = math.floor(place)
    rest = place - whole
    return ordered[whole] if rest == 0 else ordered[whole] * (1 - rest) + ordered[whole + 1] * rest
