"""Values within bounds that follow from a case: ids, lengths, page tables, decays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from specforge.dtypes import DType
from specforge.spec.bounds import Bounds

Array = np.ndarray[Any, np.dtype[Any]]

ROWS = 4096
"""Rows of distinct numbers that are drawn one by one; a larger tensor repeats them in random order."""
NUMBERS = 1 << 24
"""Numbers to choose from, over all rows that are drawn one by one: fewer rows are where each has many."""


def draw_between(bounds: Bounds, count: int, element: DType, rng: np.random.Generator) -> Array:
    """Draw so many values in the storage type, to whose nearest value each is rounded."""
    low, high = bounds.low, bounds.high
    if not element.is_float:
        drawn: Array = rng.integers(int(low), int(high), count, dtype=np.int64, endpoint=True)
    elif low > 0:
        drawn = np.exp(rng.uniform(math.log(low), math.log(high), count)).clip(low, high)
    else:
        drawn = low + rng.random(count) * (high - low)
    return drawn.astype(element.numpy())


def draw_distinct(bounds: Bounds, shape: Sequence[int], element: DType, rng: np.random.Generator) -> Array:
    """Draw whole numbers that are distinct along the last axis, or in the whole tensor; flat."""
    choices = int(bounds.high) + 1
    count = math.prod(shape)
    if bounds.kind == "permutation":
        return rng.choice(choices, count, replace=False).astype(element.numpy())
    rows = count // shape[-1]
    few = min(rows, max(16, min(ROWS, NUMBERS // choices)))
    drawn = np.stack([rng.choice(choices, shape[-1], replace=False) for _ in range(few)])
    if few < rows:
        drawn = drawn[rng.integers(0, few, rows)]
    return drawn.astype(element.numpy()).reshape(-1)
