"""What it does to a sum to be held in bf16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from specforge.dtypes import DTYPES
from specforge.verify.reduction import Gap

Array = np.ndarray[Any, np.dtype[Any]]
AT_ONCE = 16
"""Terms that are added exactly before the accumulator is rounded: what one matrix instruction takes."""
ELEMENTS = 1000
"""Elements of which the worst is seen, over several launches where one has fewer."""
STEADY = 20
"""The seed of the rounding errors."""


def bf16_error(want: Array, without: Sequence[Array], part: Gap, rows: Sequence[int]) -> Array:
    """The error [like the output] of sums over an axis that are held in bf16 by the mildest kernel that does so.

    `without` are the reference's results with one of the axis' parts left out: what then is missing is what the
    accumulator of that part holds in the end. The mildest kernel has an accumulator for each part; products, and sums
    of 16 of them, are exact; parts are merged exactly. What is left, and what no bf16 accumulator escapes, is to be
    rounded after every 16 terms. It grows evenly up to its end, as a sum of equal signs: one that wanders is larger on
    the way, and errs more. Roundings are independent, each of roundoff / sqrt(6) of what is held, the mean over
    mantissas. What a part holds is the mean over those that were left out and over a row's elements. Of an output with
    few elements the worst of several launches counts, as many as fuzzing makes many times over.
    """
    axes = tuple(axis for axis in range(want.ndim) if axis not in rows)
    held = np.mean([((want - less) ** 2).mean(axis=axes, keepdims=True) for less in without], axis=0)
    steps = max(1, -(-part.length // AT_ONCE))
    grown = (steps + 1) * (2 * steps + 1) / (6 * steps)
    parts = part.size / part.length
    spread = np.sqrt(held * parts * grown / 6.0) * DTYPES["bf16"].roundoff
    launches = -(-ELEMENTS // want.size)
    drawn = np.random.Generator(np.random.PCG64(STEADY)).standard_normal((launches, *want.shape)).clip(-3, 3)
    worst = np.take_along_axis(drawn, np.abs(drawn).argmax(axis=0)[None], axis=0)[0]
    error: Array = worst * spread
    return error
