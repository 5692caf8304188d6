"""Input values: named distributions and ranges, rounded to the storage type.

Up to `POOL` elements are drawn one by one. A larger tensor is laid out from a pool of that many: chunks of `CHUNK`
consecutive pool elements, each from a random place. CHUNK is prime, so chunks and rows do not line up; two rows of a
large tensor are equal only where their windows into the pool coincide, about once in a million pairs, which no wrong
row, stride or tile order can hit for more than a few rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from specforge.dtypes import DTYPES, DType
from specforge.spec.bounds import Bounds
from specforge.verify.blocks import CHUNK as BLOCK_CHUNK
from specforge.verify.blocks import POOL as BLOCK_POOL
from specforge.verify.blocks import draw_blocks
from specforge.verify.pieces import fill
from specforge.verify.ranges import draw_between, draw_distinct

POOL = 1 << 20
CHUNK = 4099
PIECE = 512
"""Chunks that a thread copies at a time."""
THREADS = 4

Array = np.ndarray[Any, np.dtype[Any]]


def stream(seed: int, tensor: str) -> np.random.Generator:
    """The random generator of one tensor of one example: a stream of its own for every name."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *tensor.encode()])))


def generate(distribution: str | Bounds, shape: Sequence[int], dtype: str, rng: np.random.Generator) -> Array:
    """Draw a C-contiguous tensor of finite values in the storage type; raises KeyError for an unknown distribution.

    Of a block type these are bytes: the last axis counts as many as its blocks have.
    """
    element = DTYPES[dtype]
    count = math.prod(shape)
    if element.is_block and isinstance(distribution, str):
        many = count // element.block
        blocks = draw_blocks(distribution, min(many, BLOCK_POOL), dtype, rng)
        stored = blocks if many <= BLOCK_POOL else _spread(blocks, many, rng, BLOCK_CHUNK)
        return stored.reshape(*shape[:-1], element.nbytes(shape[-1]))
    if isinstance(distribution, Bounds):
        if distribution.kind != "between":
            return draw_distinct(distribution, shape, element, rng).reshape(tuple(shape))
        stored = draw_between(distribution, min(count, POOL), element, rng)
    else:
        draw = _FLOATS[distribution] if element.is_float else _INTEGERS[distribution]
        stored = draw(min(count, POOL), element, rng).astype(element.numpy(), copy=False)
    return (stored if count <= POOL else _spread(stored, count, rng, CHUNK)).reshape(tuple(shape))


def _spread(pool: Array, count: int, rng: np.random.Generator, chunk: int) -> Array:
    """Fill `count` elements (or blocks) with chunks of the pool, each from a random place.

    In pieces of many chunks, by several threads: chunk by chunk, in Python, a GB took four times as long.
    """
    result = np.empty((count, *pool.shape[1:]), pool.dtype)
    starts = rng.integers(0, len(pool) - chunk, size=-(-count // chunk))
    width, size = math.prod(pool.shape[1:]), pool.itemsize
    windows = as_strided(pool, (len(pool) - chunk + 1, chunk * width), (width * size, size), writeable=False)
    whole = count // chunk
    rows = result[: whole * chunk].reshape(whole, chunk * width)

    def lay(piece: slice) -> None:
        rows[piece] = windows[starts[piece]]

    result[whole * chunk :] = pool[starts[-1] :][: count - whole * chunk]
    fill(whole, PIECE, lay, threads=THREADS)
    return result


def _normal(count: int, _element: DType, rng: np.random.Generator) -> Array:
    return rng.standard_normal(count, dtype=np.float32)


def _wide(count: int, _element: DType, rng: np.random.Generator) -> Array:
    """Magnitudes log-uniform from 2^-8 to 2^8, either sign."""
    sizes: Array = np.exp2(rng.random(count, dtype=np.float32) * np.float32(16) - np.float32(8))
    sizes[rng.integers(0, 2, count, dtype=np.uint8) == 1] *= -1
    return sizes


def _tiny(count: int, _element: DType, rng: np.random.Generator) -> Array:
    return rng.standard_normal(count, dtype=np.float32) * np.float32(2.0**-10)


def _ties(count: int, _element: DType, rng: np.random.Generator) -> Array:
    """Two to four distinct multiples of a quarter, exact in every type; a zero is of either sign, which ties too."""
    levels = rng.choice(np.arange(-8, 9, dtype=np.float32) / 4, size=int(rng.integers(2, 5)), replace=False)
    drawn = levels[rng.integers(0, len(levels), count)]
    return np.where((drawn == 0) & (rng.random(count) < 0.5), np.float32(-0.0), drawn)


def _constant(count: int, _element: DType, rng: np.random.Generator) -> Array:
    return np.full(count, rng.standard_normal(), np.float32)


def _spiky(count: int, _element: DType, rng: np.random.Generator) -> Array:
    """Values around 0.1, and one in 64 of size 16 to 64 that outweighs all others in a softmax."""
    values = rng.standard_normal(count, dtype=np.float32) * np.float32(0.1)
    places = np.flatnonzero(rng.integers(0, 64, count, dtype=np.uint8) == 0)
    values[places] = rng.uniform(16, 64, len(places)) * rng.choice([-1.0, 1.0], len(places))
    return values


_FLOATS: dict[str, Callable[[int, DType, np.random.Generator], Array]] = {
    "normal": _normal,
    "wide": _wide,
    "tiny": _tiny,
    "ties": _ties,
    "constant": _constant,
    "spiky": _spiky,
}


def _between(count: int, element: DType, rng: np.random.Generator, size: int) -> Array:
    """Whole numbers from -size (0 for unsigned types) to size, within the type."""
    info = np.iinfo(element.numpy().name)
    return rng.integers(max(-size, int(info.min)), min(size, int(info.max)), count, dtype=np.int64, endpoint=True)


def _integer_ties(count: int, element: DType, rng: np.random.Generator) -> Array:
    levels = np.unique(_between(4, element, rng, 100))
    return levels[rng.integers(0, len(levels), count)]


def _integer_spikes(count: int, element: DType, rng: np.random.Generator) -> Array:
    spikes = rng.integers(0, 64, count, dtype=np.uint8) == 0
    return np.where(spikes, _between(count, element, rng, 2**20), _between(count, element, rng, 3))


_INTEGERS: dict[str, Callable[[int, DType, np.random.Generator], Array]] = {
    "normal": lambda count, element, rng: _between(count, element, rng, 1000),
    "wide": lambda count, element, rng: _between(count, element, rng, 2**20),
    "tiny": lambda count, element, rng: _between(count, element, rng, 1),
    "ties": _integer_ties,
    "constant": lambda count, element, rng: np.repeat(_between(1, element, rng, 1000), count),
    "spiky": _integer_spikes,
}
