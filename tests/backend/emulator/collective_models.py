"""What the entries of collectives.cu leave in y, in numpy alone, and words to run them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.backend.emulator.intrinsic_models import Words

SPACE = 19
"""Words that a lane of `reductions` leaves."""


@dataclass(frozen=True)
class Collective:
    """An entry: words of x and y, threads of its one block, what it computes, how x is drawn."""

    words_in: int
    words_out: int
    threads: int
    compute: Callable[[Words], Words]
    draw: Callable[[np.random.Generator, int], Words]


def _bits(rng: np.random.Generator, count: int) -> Words:
    words = rng.integers(0, 2**32, count, dtype=np.uint32)
    return np.where(rng.random(count) < 0.1, np.uint32(0x80808080), words)


def _reals(rng: np.random.Generator, count: int) -> Words:
    """Floats of many sizes, some equal, both zeros among them."""
    values = rng.normal(size=count) * 2.0 ** rng.integers(-40, 40, count)
    values = np.where(rng.random(count) < 0.3, rng.integers(-2, 3, count), values)
    return np.where(rng.random(count) < 0.1, -0.0, values).astype(np.float32).view(np.uint32)


def _multiply(a_type: type, b_type: type) -> Callable[[Words], Words]:
    def compute(x: Words) -> Words:
        a = x[:128].view(a_type).reshape(16, 32).astype(np.int64)
        b = x[128:192].view(b_type).reshape(8, 32).astype(np.int64)
        total = x[192:].reshape(16, 8).astype(np.int64) + a @ b.T
        return (total % 2**32).astype(np.uint32).reshape(-1)

    return compute


def _ldmatrix(count: int, transposed: bool) -> Callable[[Words], Words]:
    def compute(x: Words) -> Words:
        matrices = x.view(np.uint16).reshape(4, 8, 8)[:count]
        if transposed:
            matrices = matrices.transpose(0, 2, 1)
        # A lane's word of a matrix is the lane-th pair of it, row by row.
        return np.ascontiguousarray(matrices).view(np.uint32).reshape(count, 32).T.reshape(-1)

    return compute


def _filled(x: Words) -> Words:
    memory = x.view(np.uint8)
    y = np.zeros((32, 28), np.uint8)
    for i in range(32):
        for start, size, filled in ((0, 16, i % 17), (16, 8, i % 9), (24, 4, i % 5)):
            y[i, start : start + filled] = memory[i * size : i * size + filled]
    return y.view(np.uint32).reshape(-1)


def _largest(values: np.ndarray) -> np.float32:
    best = values.max()
    return np.float32(0.0) if best == 0 and not np.signbit(values[values == 0]).all() else best


def _sum(values: np.ndarray) -> np.float32:
    while len(values) > 1:
        half = len(values) // 2
        values = values[:half] + values[half:]
    return values[0]


def _scan(values: np.ndarray) -> np.ndarray:
    distance = 1
    while distance < len(values):
        values = np.concatenate([values[:distance], values[:-distance] + values[distance:]])
        distance *= 2
    return values


def _reductions(x: Words) -> Words:
    values, y = x.view(np.float32), np.zeros((32, SPACE), np.uint32)
    for place, width in ((0, 32), (5, 8), (10, 2)):
        for first in range(0, 32, width):
            run, lanes = values[first : first + width], slice(first, first + width)
            index = first + int(np.argmax(run))
            y[lanes, place] = _sum(run).view(np.uint32)
            y[lanes, place + 1] = _largest(run).view(np.uint32)
            y[lanes, place + 2 : place + 4] = x[index], index
            y[lanes, place + 4] = _scan(run).view(np.uint32)
    y[:, 15] = x.sum(dtype=np.uint32)
    y[:, 16] = np.concatenate([np.cumsum(x[first : first + 16], dtype=np.uint32) for first in (0, 16)])
    y[:, 17:19] = np.array([_sum(values), _sum(-values)]).view(np.uint32)
    return y.reshape(-1)


def _handed_over(x: Words) -> Words:
    steps = np.arange(6, dtype=np.uint32)[:, None]
    return (x.reshape(6, 64)[:, ::-1] + steps).reshape(-1)


COLLECTIVES = {
    "mma_s8s8": Collective(320, 128, 32, _multiply(np.int8, np.int8), _bits),
    "mma_s8u8": Collective(320, 128, 32, _multiply(np.int8, np.uint8), _bits),
    "mma_u8s8": Collective(320, 128, 32, _multiply(np.uint8, np.int8), _bits),
    "mma_u8u8": Collective(320, 128, 32, _multiply(np.uint8, np.uint8), _bits),
    "ldmatrix_x1": Collective(128, 32, 32, _ldmatrix(1, False), _bits),
    "ldmatrix_x2": Collective(128, 64, 32, _ldmatrix(2, False), _bits),
    "ldmatrix_x4": Collective(128, 128, 32, _ldmatrix(4, False), _bits),
    "ldmatrix_x1_trans": Collective(128, 32, 32, _ldmatrix(1, True), _bits),
    "ldmatrix_x2_trans": Collective(128, 64, 32, _ldmatrix(2, True), _bits),
    "ldmatrix_x4_trans": Collective(128, 128, 32, _ldmatrix(4, True), _bits),
    "copy_filled": Collective(128, 224, 32, _filled, _bits),
    "pipeline": Collective(256, 256, 32, lambda x: x.reshape(8, 32)[:, ::-1].reshape(-1), _bits),
    "produce_and_consume": Collective(384, 384, 128, _handed_over, _bits),
    "reductions": Collective(32, 32 * SPACE, 32, _reductions, _reals),
}
