"""A tensor core's addition in exact rational numbers: what emulator_parity.h must equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

FORMATS = {"bf16": (7, 8), "f16": (10, 5), "f32": (23, 8)}
"""Bits of the fraction and of the exponent."""
CORES = {80: (8, 24), 90: (16, 25)}
"""By compute capability: products taken at once, and bits kept below the largest exponent."""
LEAST = -133
"""Nothing is aligned lower, however small the products are."""


def parts(bits: int, dtype: str) -> tuple[Fraction, int | None]:
    """The significand, below 2 in size, and the exponent; None for a zero's."""
    fraction, exponent = FORMATS[dtype]
    highest = (1 << exponent) - 1
    field, low = bits >> fraction & highest, bits & ((1 << fraction) - 1)
    assert field != highest
    size = Fraction(low, 1 << fraction) + (1 if field else 0)
    sign = -1 if bits >> (fraction + exponent) & 1 else 1
    return sign * size, (max(field, 1) - (highest >> 1)) if size else None


def toward_zero(x: Fraction, step: Fraction) -> Fraction:
    return math.trunc(x / step) * step


def cut(x: Fraction) -> float:
    """To f32 toward zero; infinite from 2^128 on."""
    if abs(x) >= 2**128:
        return math.copysign(math.inf, x)
    exponent = -126
    if x:
        exponent = max(-126, abs(x).numerator.bit_length() - abs(x).denominator.bit_length())
        exponent -= abs(x) < Fraction(2) ** exponent and exponent > -126
    return float(toward_zero(x, Fraction(2) ** (exponent - 23)))  # a Fraction has no -0: what vanishes becomes +0


def add(start: int, a: Sequence[int], b: Sequence[int], dtype: str, capability: int) -> float:
    """start + a . b as a tensor core of that capability adds; all bits, `start` of f32. Finite operands."""
    block, kept = CORES[capability]
    total = start
    result = 0.0
    for first in range(0, len(a), block):
        terms = [parts(total, "f32")]
        for x, y in zip(a[first : first + block], b[first : first + block], strict=True):
            (p, e), (q, f) = parts(x, dtype), parts(y, dtype)
            terms.append((p * q, None if e is None or f is None else e + f))
        largest = max(LEAST, *(e for _, e in terms if e is not None), LEAST)
        step = Fraction(2) ** (largest - kept)
        result = cut(sum((toward_zero(s * Fraction(2) ** e, step) for s, e in terms if e is not None), Fraction(0)))
        if math.isinf(result):
            break
        total = int(np.float32(result).view(np.uint32))
    return result
