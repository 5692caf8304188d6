"""What several fresh processes say together of one time, the differences between them included.

Each process gives the median of its samples. Their mean is the value: with few processes it is known better than their
median. The interval is the wider of two: Student's t over the processes' medians, which holds whatever made them differ
(clocks, placement in memory, the heat of the card), and what the samples inside the processes leave open. With one
process there is only the latter, and nothing is known of what another process would have shown.

Simulated coverage of the interval of 95 % (tests/measure/test_estimate.py; 400 samples a process, a standard deviation
of 0.3 % between processes where there is one):

| samples | 1 process | 3 processes | 5 processes |
|---|---|---|---|
| normal | 98 % | 99 % | 99 % |
| heavy tails (Student's t, 1.5 degrees of freedom) | 98 % | 100 % | 99 % |
| two modes, 70 % and 30 %, a fifth apart | 98 % | 100 % | 99 % |
| normal, processes shifted against each other | 66 % | 96 % | 96 % |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from specforge.measure.samples import CONFIDENCE, estimate_median
from specforge.measure.student import two_sided


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval of 95 %, in the unit of the samples."""

    value: float
    """The mean of the processes' medians."""
    low: float
    high: float
    within: float | None
    """Half the interval that the samples inside the processes leave open; None where a process has too few for one."""
    between: float | None
    """Standard deviation of the processes' medians; None with one process."""
    processes: int

    @property
    def precision(self) -> float:
        """Half the interval as a share of the value; infinite for a value of zero."""
        return (self.high - self.low) / 2 / self.value if self.value > 0 else math.inf


def estimate(rounds: Sequence[Sequence[float]]) -> Estimate | None:
    """Estimate from the samples of each process, in the order taken.

    None where nothing bounds the value: one process alone with fewer than 6 samples. Raises ValueError for no process,
    or one without samples.
    """
    if not rounds:
        raise ValueError("no processes")
    medians = [estimate_median(samples) for samples in rounds]
    count = len(medians)
    value = mean(median.value for median in medians)  # exact: equal medians have no spread, whatever their number
    sides = [
        (median.value - median.low, median.high - median.value)
        for median in medians
        if median.low is not None and median.high is not None
    ]
    known = len(sides) == count
    if count == 1:
        return Estimate(value, value - sides[0][0], value + sides[0][1], sum(sides[0]) / 2, None, 1) if known else None
    below, above = (math.sqrt(sum(pair[side] ** 2 for pair in sides)) / count for side in (0, 1))
    between = math.sqrt(sum((median.value - value) ** 2 for median in medians) / (count - 1))
    half = two_sided(CONFIDENCE, count - 1) * between / math.sqrt(count)
    return Estimate(
        value,
        value - max(half, below),
        value + max(half, above),
        (below + above) / 2 if known else None,
        between,
        count,
    )
