"""Student's t distribution, for any positive number of degrees of freedom."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

STEPS = 200
LARGE = 1e6
"""Degrees of freedom from which the normal distribution stands in."""


@cache
def two_sided(confidence: float, freedom: float) -> float:
    """The t that encloses, with its negative, a share `confidence` of the distribution; raises ValueError.

    With t = sqrt(freedom) tan(x), the density in x is proportional to cos(x) ** (freedom - 1).
    """
    if not 0 < confidence < 1 or not freedom >= 1:
        raise ValueError(f"no quantile of {confidence} with {freedom} degrees of freedom")
    if freedom >= LARGE:
        return NormalDist().inv_cdf((1 + confidence) / 2)
    scale = 2 * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)

    def inside(end: float) -> float:
        width = end / STEPS
        weights = (1 if place in (0, STEPS) else 4 if place % 2 else 2 for place in range(STEPS + 1))
        heights = (math.pow(math.cos(place * width), freedom - 1) for place in range(STEPS + 1))
        return scale * width / 3 * sum(weight * height for weight, height in zip(weights, heights, strict=True))

    low, high = 0.0, min(math.pi / 2, 40 / math.sqrt(freedom))
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < confidence else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)
