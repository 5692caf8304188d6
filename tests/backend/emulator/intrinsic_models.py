"""What the elementwise device functions compute, in numpy alone: word arrays in, word arrays out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import ml_dtypes
import numpy as np

Words = np.ndarray
"""uint32 [items, words]."""


@dataclass(frozen=True)
class Model:
    """An entry of intrinsics.cu: words per item in and out, its meaning, and whether its words are floats (`f32`,
    `f16` or `bf16`, of which any NaN equals any other)."""

    words_in: int
    words_out: int
    compute: Callable[[Words], Words]
    floats: str = ""
    takes_floats: bool = False

    def canonical(self, words: Words) -> Words:
        """With one NaN for all."""
        if not self.floats:
            return words
        kind, bits = {
            "f32": (np.float32, np.uint32),
            "f16": (np.float16, np.uint16),
            "bf16": (ml_dtypes.bfloat16, np.uint16),
        }[self.floats]
        parts = np.ascontiguousarray(words).view(bits).copy()
        parts[np.isnan(parts.view(kind))] = 0x7FFF
        return parts


def _bytes(words: np.ndarray, kind: type) -> np.ndarray:
    return np.ascontiguousarray(words).view(kind).reshape(*words.shape, 4).astype(np.int64)


def _words(values: np.ndarray) -> Words:
    return np.ascontiguousarray(values).view(np.uint32).reshape(len(values), -1)


def _dot(a: type, b: type) -> Callable[[Words], Words]:
    def compute(x: Words) -> Words:
        total = (_bytes(x[:, 0], a) * _bytes(x[:, 1], b)).sum(axis=1) + x[:, 2].astype(np.int64)
        return (total % 2**32).astype(np.uint32)[:, None]

    return compute


def _permute(sign: bool) -> Callable[[Words], Words]:
    def compute(x: Words) -> Words:
        pool = np.ascontiguousarray(x[:, :2]).view(np.uint8)
        result = np.zeros((len(x), 4), np.uint8)
        for place in range(4):
            nibble = x[:, 2] >> (4 * place) & 15
            byte = pool[np.arange(len(x)), nibble & 7]
            spread = np.where(byte >= 128, 255, 0).astype(np.uint8)
            result[:, place] = np.where(nibble & 8, spread, byte) if sign else byte
        return _words(result)

    return compute


def _floats(x: Words) -> np.ndarray:
    return x.view(np.float32)


def _packed(kind: type) -> Callable[[Words], Words]:
    return lambda x: _words(_floats(x).astype(kind))


def _unpacked(kind: type) -> Callable[[Words], Words]:
    return lambda x: _words(x.view(kind).astype(np.float32))


def _numbers(kind: type, to: type) -> Callable[[Words], Words]:
    return lambda x: _words(_bytes(x[:, 0], kind).astype(to))


def _nibbles(to: type) -> Callable[[Words], Words]:
    def compute(x: Words) -> Words:
        numbers = np.stack([x[:, 0] >> (4 * i) & 15 for i in range(8)], axis=1)
        return _words(numbers[:, [0, 4, 1, 5, 2, 6, 3, 7]].astype(to))

    return compute


def _rounded(x: Words) -> np.ndarray:
    wide = np.nan_to_num(_floats(x).astype(np.float64), nan=0.0)
    return np.clip(np.rint(wide), -128, 127).astype(np.int8)


def _fma(x: Words) -> Words:
    """Rounded once: a product is exact in extended precision, a sum that was not is settled by fractions."""
    a, b, c = (_floats(x[:, i : i + 2]).astype(np.longdouble) for i in (0, 2, 4))
    near = (a * b + c).astype(np.float32)
    rest = (a * b + c) - a * b
    inexact = np.isfinite(near) & ((rest != c) | ((a * b + c) - rest != a * b))
    for place in zip(*np.nonzero(inexact), strict=True):
        exact = Fraction(float(a[place])) * Fraction(float(b[place])) + Fraction(float(c[place]))
        around = [np.nextafter(near[place], np.float32(side)) for side in (-np.inf, np.inf)]
        choices = [value for value in (near[place], *around) if np.isfinite(value)]
        near[place] = min(choices, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(np.uint32)) & 1))
    return _words(near)


def _q4k(x: Words) -> Words:
    packed = np.ascontiguousarray(x).view(np.uint8).astype(int)
    scales, mins = np.zeros((2, len(x), 8), np.uint8)
    for j in range(8):
        if j < 4:
            scales[:, j], mins[:, j] = packed[:, j] % 64, packed[:, j + 4] % 64
        else:
            scales[:, j] = packed[:, j + 4] % 16 + packed[:, j - 4] // 64 * 16
            mins[:, j] = packed[:, j + 4] // 16 + packed[:, j] // 64 * 16
    return _words(np.concatenate([scales, mins], axis=1))


def _q6k(x: Words) -> Words:
    low = np.ascontiguousarray(x[:, :2]).view(np.uint8).reshape(-1, 2, 4).astype(int)
    high = np.ascontiguousarray(x[:, 2:]).view(np.uint8).astype(int)
    parts = [low[:, 0] % 16, low[:, 1] % 16, low[:, 0] // 16, low[:, 1] // 16]
    values = [part + (high // 4**i % 4) * 16 - 32 for i, part in enumerate(parts)]
    return _words(np.stack(values, axis=1).astype(np.int8))


def _bitwise(step: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Words], Words]:
    return lambda x: step(x[:, 0], x[:, 1], x[:, 2])[:, None]


MODELS = {
    "dp4a_s8s8": Model(3, 1, _dot(np.int8, np.int8)),
    "dp4a_u8u8": Model(3, 1, _dot(np.uint8, np.uint8)),
    "dp4a_s8u8": Model(3, 1, _dot(np.int8, np.uint8)),
    "dp4a_u8s8": Model(3, 1, _dot(np.uint8, np.int8)),
    "byte_perm": Model(3, 1, _permute(sign=False)),
    "prmt": Model(3, 1, _permute(sign=True)),
    "lop3_and_or": Model(3, 1, _bitwise(lambda a, b, c: a & b | c)),
    "lop3_majority": Model(3, 1, _bitwise(lambda a, b, c: a & b | b & c | a & c)),
    "lop3_xor": Model(3, 1, _bitwise(lambda a, b, c: a ^ b ^ c)),
    "lop3_select": Model(3, 1, _bitwise(lambda a, b, c: a & b | ~a & c)),
    "pack_bf16": Model(2, 1, _packed(ml_dtypes.bfloat16), "bf16", takes_floats=True),
    "pack_f16": Model(2, 1, _packed(np.float16), "f16", takes_floats=True),
    "unpack_bf16": Model(1, 2, _unpacked(ml_dtypes.bfloat16), "f32"),
    "unpack_f16": Model(1, 2, _unpacked(np.float16), "f32"),
    "unpack_half": Model(1, 1, lambda x: _words(x.view(np.float16)[:, :1].astype(np.float32)), "f32"),
    "unpack_u8": Model(1, 4, _numbers(np.uint8, np.float32), "f32"),
    "unpack_s8": Model(1, 4, _numbers(np.int8, np.float32), "f32"),
    "unpack_u8_f16": Model(1, 2, _numbers(np.uint8, np.float16), "f16"),
    "unpack_s8_f16": Model(1, 2, _numbers(np.int8, np.float16), "f16"),
    "unpack_u4_f16": Model(1, 4, _nibbles(np.float16), "f16"),
    "unpack_u4_bf16": Model(1, 4, _nibbles(ml_dtypes.bfloat16), "bf16"),
    "round_s8": Model(1, 1, lambda x: _rounded(x).astype(np.int32).view(np.uint32), takes_floats=True),
    "pack_s8": Model(4, 1, lambda x: _words(_rounded(x)), takes_floats=True),
    "fma_f32x2": Model(6, 2, _fma, "f32", takes_floats=True),
    "add_f32x2": Model(4, 2, lambda x: _words(_floats(x[:, :2]) + _floats(x[:, 2:])), "f32", takes_floats=True),
    "mul_f32x2": Model(4, 2, lambda x: _words(_floats(x[:, :2]) * _floats(x[:, 2:])), "f32", takes_floats=True),
    "load_even": Model(2, 1, lambda x: x[:, :1] >> 16 | x[:, 1:] << 16),
    "q4k_scales": Model(3, 4, _q4k),
    "q6k_values": Model(3, 4, _q6k),
    "load_ahead": Model(4, 7, lambda x: np.concatenate([x[:, :1], x[:, :2], x], axis=1)),
    "stream_words": Model(1, 6, lambda x: np.tile(x, (1, 6))),
    "stream_pairs": Model(2, 6, lambda x: np.tile(x, (1, 3))),
    "stream_quads": Model(4, 16, lambda x: np.tile(x, (1, 4))),
}


def expected(model: Model, x: Words) -> np.ndarray:
    """The model's words for these, NaNs made one."""
    with np.errstate(all="ignore"):
        return model.canonical(model.compute(np.ascontiguousarray(x)))


_EDGES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x80808080, 0x7F7F7F7F, 0x3F800000, 0xFF800000]
_FLOAT_EDGES = [0x3F000000, 0x3FC00000, 0x42FF0000, 0xC3008000, 0x7F800000, 0x7FC00000, 0x00000001, 0x387FE000]


def draw(model: Model, items: int, seed: int) -> Words:
    """Words for so many items: bit patterns of every kind; for functions of floats half are of size 2^-30 to 2^10."""
    rng = np.random.default_rng(seed)
    shape = (items, model.words_in)
    words = rng.integers(0, 2**32, shape, dtype=np.uint32)
    if model.takes_floats:
        sized = (rng.normal(size=shape) * 2.0 ** rng.integers(-30, 11, shape)).astype(np.float32).view(np.uint32)
        words = np.where(rng.random(shape) < 0.5, sized, words)
    edges = np.array(_EDGES + _FLOAT_EDGES, np.uint32)
    return np.where(rng.random(shape) < 0.2, rng.choice(edges, shape), words).astype(np.uint32)
