"""Quantised blocks: drawn as random bytes with sensible scales, and decoded by the gguf package for the reference.

Quants and the packed 6-bit scales and minima are random bytes, so that each of their patterns occurs. The f16 scales
are drawn: `d` of either sign with random mantissas, `dmin` beside it so that minima move values as far as quants do.

gguf decodes in f32. Of drawn blocks that is exact: d * scale * quant has at most 11 + 6 + 5 significant bits (q5_k; 24
at most, sign apart, in the other types), and the last bit of dmin lies 0 to 5 bits above that of d, so that
d * scale * quant - dmin * minimum is a whole multiple of the latter, below 2^23.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from specforge.dtypes import DTYPES
from specforge.verify.pieces import fill

Array = np.ndarray[Any, np.dtype[Any]]

POOL = 1 << 17
"""Blocks that are drawn one by one; a larger tensor is laid out from so many, as `values.py` says."""
CHUNK = 1021
DECODED_AT_ONCE = 1 << 18
"""Elements of a piece of work of one thread. Twice as many, and what a thread allocates for it no longer comes from its
own heap but from the system, page by page: q6_k took 24 ns of processor time an element for 4.4."""
_SUBNORMAL = -24
"""The exponent of f16's last bit where it is least."""
_RAISED = 1, 5
"""The last bit of dmin lies so many bits above that of d: as real weights have it, values centred about zero."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a block's f16 scales lie, and the exponent of `d` at which values are around 2^-6."""

    d: int
    exponent: int
    dmin: int | None = None


_LAYOUTS = {
    "q4_k": _Layout(0, -14, 2),
    "q5_k": _Layout(0, -15, 2),
    "q6_k": _Layout(208, -16),
    "q8_0": _Layout(0, -12),
    "q5_0": _Layout(0, -9),
}


def draw_blocks(distribution: str, count: int, dtype: str, rng: np.random.Generator) -> Array:
    """Draw blocks [count, bytes]; raises KeyError for an unknown distribution."""
    layout = _LAYOUTS[dtype]
    exponents = _EXPONENTS[distribution]
    distinct = {"constant": 1, "ties": int(rng.integers(2, 5))}.get(distribution, count)
    blocks = rng.integers(0, 256, (distinct, DTYPES[dtype].block_bytes), np.uint8)
    last = layout.exponent - 10 + exponents(distinct, rng)
    sign = rng.choice([-1.0, 1.0], distinct)
    _put(blocks, layout.d, sign, last, rng)
    if layout.dmin is not None:
        # Mostly of the sign of d, as minima that were subtracted from quants upward from 0.
        sign = np.where(rng.random(distinct) < 0.25, -sign, sign)
        above = rng.integers(*_RAISED, distinct, endpoint=True)
        _put(blocks, layout.dmin, sign, last + above, rng)
    return blocks if distinct == count else blocks[rng.integers(0, distinct, count)]


def _put(blocks: Array, place: int, sign: Array, last: Array, rng: np.random.Generator) -> None:
    """Write f16 values with random mantissas of 11 bits whose last bits have the exponents `last`; fewer bits below."""
    mantissas = rng.integers(1 << 10, 1 << 11, len(blocks))
    short = np.clip(_SUBNORMAL - last, 0, 11)
    values = sign * np.ldexp((mantissas >> short).astype(np.float64), last + short)
    blocks[:, place : place + 2] = values.astype(np.float16).view(np.uint8).reshape(-1, 2)


def _spikes(count: int, rng: np.random.Generator) -> Array:
    """One block in 64 is 2^8 times as large as the others."""
    return np.where(rng.integers(0, 64, count) == 0, 8, 0)


_EXPONENTS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "normal": lambda count, rng: rng.integers(-1, 1, count, endpoint=True),
    "wide": lambda count, rng: rng.integers(-4, 8, count, endpoint=True),
    "tiny": lambda count, rng: rng.integers(-10, -6, count, endpoint=True),  # subnormal, down to zero
    "ties": lambda count, rng: np.zeros(count, np.int64),
    "constant": lambda count, rng: rng.integers(-1, 1, count, endpoint=True),
    "spiky": _spikes,
}
"""How far the exponent of `d` lies from the type's usual one."""


def decode(stored: Array, shape: Sequence[int], dtype: str) -> Array:
    """The values of stored blocks as float64 of this shape, decoded by gguf in several threads."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    element, kind = DTYPES[dtype], GGMLQuantizationType[dtype.upper()]
    blocks = np.ascontiguousarray(stored).reshape(-1, element.block_bytes)
    values = np.empty((len(blocks), element.block), np.float64)

    def fill_piece(piece: slice) -> None:
        row = blocks[piece].reshape(1, -1)  # as one row: gguf takes 16 rows at a time
        values[piece] = dequantize(row, kind).reshape(-1, element.block)

    fill(len(blocks), DECODED_AT_ONCE // element.block, fill_piece)
    assert values.size == math.prod(shape)
    return values.reshape(tuple(shape))


class Stack:
    """Quantised matrices, as of a model's experts: each is decoded when it is asked for, since few are at a time.

    Indexed along its first axes by whole numbers; anything else that arrays do decodes it all.
    """

    def __init__(self, stored: Array, shape: Sequence[int], dtype: str) -> None:
        self._stored, self._dtype = stored.reshape(*shape[:-1], -1), dtype
        self.shape = tuple(shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        """Matrices, or stacks of them."""
        return self.shape[0]

    def __getitem__(self, place: Any) -> Stack | Array:  # noqa: ANN401 - whatever numpy takes
        """One matrix, or a stack of fewer axes."""
        if isinstance(place, int | np.integer):
            shape = self.shape[1:]
            chosen = self._stored[place]
            return Stack(chosen, shape, self._dtype) if len(shape) > 2 else decode(chosen, shape, self._dtype)
        found: Array = np.asarray(self)[place]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: ANN401 - numpy's protocol
        """All of it, decoded."""
        return decode(self._stored, self.shape, self._dtype).astype(dtype or np.float64, copy=False)
