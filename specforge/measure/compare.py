"""Faster or slower than before: the ratio of two times, each measured by several processes.

A cell is slower where both hold: its ratio lies beyond the tolerance, and the interval of 99 % around the ratio
excludes 1. The first keeps what is real and does not matter from being reported; the second what chance makes. A cell
is the same where the interval of 95 % lies within the tolerance on both sides. Everything else is undecided, which is
no success and no failure: more processes would tell.

Whatever processes differ by, at most 1 % of the cells that did not change are called slower or faster. What is found
of a slow-down of 2 %, and what is reported where there is none, by the standard deviation of the processes' medians:

| | 0.2 % | 0.3 % | 0.4 % | 0.5 % | 0.7 % | 1 % |
|---|---|---|---|---|---|---|
| found, 3 processes a side | 100 % | 97 % | 83 % | 63 % | 34 % | 16 % |
| found, 5 processes a side | 100 % | 100 % | 100 % | 99 % | 83 % | 48 % |
| false alarms, 3 processes a side | 0 | 0 | 0.06 % | 0.25 % | 0.7 % | 0.9 % |
| false alarms, 5 processes a side | 0 | 0 | 0.01 % | 0.10 % | 0.6 % | 0.9 % |

`benchmarks/measurement/power.py` has the same from recorded samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from specforge.measure.estimate import estimate
from specforge.measure.samples import CONFIDENCE
from specforge.measure.student import LARGE, two_sided

TOLERANCE = 0.01
"""The change, as a share, from which on it matters."""
DECISION = 0.99
"""Confidence with which a change must be there to be called one."""
ASSUMED = 0.005
"""What processes differ by, as a share, where one process on either side leaves it unknown: a standard deviation.

Repeated measurements on one card, clocks as found, differ by 0.4 to 0.7 % end to end.
"""

ChangeVerdict = Literal["faster", "slower", "same", "undecided"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The time after over the time before, with its interval of 95 %. Above 1 is slower."""

    before: float
    after: float
    ratio: float
    low: float
    high: float
    verdict: ChangeVerdict
    assumed: bool = False
    """What processes differ by was not measured on either side, and ASSUMED stands for it."""


def compare(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], tolerance: float = TOLERANCE
) -> Comparison | None:
    """Compare samples, by process and in the order taken; None where one side has too few to bound anything.

    Both sides share one spread between processes, relative to the time, so that a side with one process borrows the
    other's. Raises ValueError for a side without samples or with a time of zero.
    """
    old, new = estimate(before), estimate(after)
    if old is None or new is None:
        return None
    if old.value <= 0 or new.value <= 0:
        raise ValueError("a time of zero has no ratio")
    freedom = old.processes + new.processes - 2
    squares = sum((found.processes - 1) * ((found.between or 0.0) / found.value) ** 2 for found in (old, new))
    spread = math.sqrt(squares / freedom) if freedom else ASSUMED
    error = spread * math.sqrt(1 / old.processes + 1 / new.processes)
    inside = math.hypot(*((found.within or 0.0) / found.value for found in (old, new)))
    halves = [_half(error, inside, freedom, confidence) for confidence in (CONFIDENCE, DECISION)]
    ratio = new.value / old.value
    low, high = ratio * math.exp(-halves[0]), ratio * math.exp(halves[0])
    return Comparison(old.value, new.value, ratio, low, high, _verdict(ratio, halves, tolerance), assumed=not freedom)


def _half(error: float, inside: float, freedom: int, confidence: float) -> float:
    """Half the interval of the ratio's logarithm; `inside` is what samples inside processes leave open at 95 %."""
    between = two_sided(confidence, freedom or LARGE) * error
    return max(between, inside * two_sided(confidence, LARGE) / two_sided(CONFIDENCE, LARGE))


def _verdict(ratio: float, halves: Sequence[float], tolerance: float) -> ChangeVerdict:
    change, limit = math.log(ratio), math.log1p(tolerance)
    if abs(change) > max(limit, halves[1]):
        return "slower" if change > 0 else "faster"
    return "same" if abs(change) + halves[0] <= limit else "undecided"
