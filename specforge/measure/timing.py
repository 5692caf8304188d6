"""Collecting samples until their median is known well enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from specforge.measure.samples import estimate_median


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a case has samples enough. Seconds are wall time; `precision` is half the interval over the median."""

    minimum: int = 30
    maximum: int = 2000
    seconds: float = 3.0
    precision: float = 0.005
    batch: int = 50
    warmup_launches: int = 20
    warmup_seconds: float = 0.1

    def converged(self, precision: float) -> bool:
        """Whether a precision reached can be judged on: within three times of what was asked."""
        return precision <= 3 * self.precision


@dataclass(frozen=True, slots=True)
class Collected:
    """Samples in the order taken, in seconds, and what came before them."""

    samples: tuple[float, ...]
    warmup: int


def collect(
    batch: Callable[[int], list[float]], rule: StopRule, clock: Callable[[], float] = time.monotonic
) -> Collected:
    """Take batches of samples; `batch(n)` takes n launches and returns their times in seconds.

    Warm-up launches are thrown away: they bring the card to its clocks, and no sample is ever chosen by its value.
    Stops at the first of: precision reached with the minimum taken, the maximum, the wall budget.
    """
    warmup = 0
    start = clock()
    while warmup < rule.warmup_launches or clock() - start < rule.warmup_seconds:
        warmup += len(batch(rule.batch))
    samples: list[float] = []
    start = clock()
    while True:
        samples += batch(min(rule.batch, rule.maximum - len(samples)))
        if len(samples) >= rule.maximum or clock() - start >= rule.seconds:
            break
        if len(samples) >= rule.minimum and estimate_median(samples).precision <= rule.precision:
            break
    if not all(math.isfinite(sample) and sample >= 0 for sample in samples):
        raise ValueError("the card's clock gave times that are none")
    return Collected(tuple(samples), warmup)
