"""Outputs that are known to be wrong, made from a right one: what wrong kernels leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from specforge.spec.geometry import BufferPlan

Array = np.ndarray[Any, np.dtype[Any]]


class Idle(Exception):
    """A corruption that cannot be tried; the message says why."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a corruption is made from: the right output, a stale one, its plan, what each element may err by.

    What is stale is the output of other inputs, and what it held before where it is updated in place.
    """

    right: Array
    stale: Array
    buffer: BufferPlan
    allowed: Array

    def rows(self, array: Array) -> Array:
        """The array with the axes that name a row flattened in front and all others behind: [rows, elements]."""
        axes = list(self.buffer.rows)
        count = int(np.prod([self.buffer.shape[axis] for axis in axes], dtype=np.int64))
        return np.moveaxis(array, axes, range(len(axes))).reshape(count, -1)

    def like(self, rows: Array) -> Array:
        """The inverse of `rows`."""
        axes = list(self.buffer.rows)
        others = [axis for axis in range(len(self.buffer.shape)) if axis not in axes]
        shape = [self.buffer.shape[axis] for axis in (*axes, *others)]
        return np.moveaxis(rows.reshape(shape), range(len(axes)), axes)


def _rolled(ground: Ground) -> Array:
    rows = ground.rows(ground.right)
    if len(rows) == 1:
        raise Idle("there is one row")
    return ground.like(np.roll(rows, 1, axis=0))


def _unwritten_tail(ground: Ground) -> Array:
    """The last element as it was before the launch: poisoned; of what is updated in place, the last that changes much.

    That is, by no less than half of those do that change: what hardly does says nothing of the tolerance.
    """
    if ground.buffer.role == "inout":
        kept = ground.right.copy()
        off = np.abs(kept.astype(np.float64) - ground.stale.astype(np.float64)).reshape(-1)
        if not off.any():
            raise Idle("the reference changes nothing")
        place = np.flatnonzero(off >= np.median(off[off > 0]))[-1]
        kept.reshape(-1)[place] = ground.stale.reshape(-1)[place]
        return kept
    bits = ground.right.copy()
    bits.reshape(-1).view(f"u{bits.itemsize}")[-1] = np.iinfo(f"u{bits.itemsize}").max
    return bits


def _nan_row(ground: Ground) -> Array:
    rows = ground.rows(ground.right).copy()
    rows[-1] = np.nan
    return ground.like(rows)


def _one_element(ground: Ground) -> Array:
    """Where the tolerance is widest beside the value, the element takes the one of middle size of its row.

    A row of one element takes it from the whole output.
    """
    rows, allowed = ground.rows(ground.right).copy(), ground.rows(ground.allowed)
    size = np.abs(rows.astype(np.float64))
    row, place = np.unravel_index(int(np.argmax(allowed / np.maximum(size, np.finfo(np.float64).tiny))), rows.shape)
    source, sizes = (rows[row], size[row]) if rows.shape[1] > 1 else (rows.reshape(-1), size.reshape(-1))
    middle = source[int(np.argsort(sizes, kind="stable")[len(sizes) // 2])]
    if middle == rows[row, place]:
        middle = source[int(np.argmax(sizes))]
    rows[row, place] = middle
    return ground.like(rows)


def _scaled(factor: float) -> Callable[[Ground], Array]:
    return lambda ground: (ground.right.astype(np.float64) * factor).astype(ground.right.dtype)


EVERY: dict[str, Callable[[Ground], Array]] = {
    "all zeros": lambda ground: np.zeros_like(ground.right),
    "rows permuted": _rolled,
    "a stale output": lambda ground: ground.stale,
    "an unwritten tail": _unwritten_tail,
    "one wrong element in the worst place": _one_element,
}
FLOATS: dict[str, Callable[[Ground], Array]] = {
    "everything x0.5": _scaled(0.5),
    "everything x1.5": _scaled(1.5),
    "every sign flipped": _scaled(-1.0),
    "one row NaN": _nan_row,
}
INTEGERS: dict[str, Callable[[Ground], Array]] = {
    "off by one": lambda ground: ground.right + ground.right.dtype.type(1)
}
