"""Operands that tell one way of adding from another, and the kernel that takes them on a card and on the emulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np

from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance

TYPES = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
C_TYPES = {"bf16": "__nv_bfloat16", "f16": "__half"}
LAYOUT = {"bf16": (7, 8), "f16": (10, 5), "f32": (23, 8)}
SOURCE = (
    '#include "specforge.cuh"\n'
    + (Path(__file__).parents[1] / "backend" / "emulator" / "mma.cu").read_text()
    + "".join(
        f"""
extern "C" __global__ void many_{name}(const {c_type}* a, const {c_type}* b, const float* c, float* d) {{
  a += blockIdx.x * 256, b += blockIdx.x * 128, c += blockIdx.x * 128, d += blockIdx.x * 128;
  for (int i = threadIdx.x; i < 128; i += 32) d[i] = c[i];
  __syncwarp();
  multiply(a, b, d);
}}
"""
        for name, c_type in C_TYPES.items()
    )
)
ENTRIES = [f"many_{name}" for name in C_TYPES]
Operands = dict[str, np.ndarray]
"""`a` [count, 16, 16], `b` [count, 16, 8] and `c` [count, 16, 8]."""


def plan_of(dtype: str, count: int) -> Plan:
    shapes = {
        "a": ((count, 16, 16), dtype, "in"),
        "b": ((count, 16, 8), dtype, "in"),
        "c": ((count, 16, 8), "f32", "in"),
        "d": ((count, 16, 8), "f32", "out"),
    }
    buffers = tuple(
        BufferPlan(name, shape, kind, role, ("normal",), "hot", (0,)) for name, (shape, kind, role) in shapes.items()
    )
    launch = LaunchPlan(f"many_{dtype}", (count, 1, 1), (32, 1, 1), 0, tuple(shapes))
    return Plan("test/many", "", {}, {}, buffers, (launch,), 1.0, 1.0, 1, {"d": Tolerance(True)})


def _bits(dtype: str, rng: np.random.Generator, shape, low: int, high: int) -> np.ndarray:
    """Any significand and sign, exponents from `low` to `high` (-200 for subnormals and zeros), as far as there are."""
    fraction, exponent = LAYOUT[dtype]
    bias = (1 << exponent - 1) - 1
    field = np.clip(rng.integers(low, high + 1, shape) + bias, 0, 2 * bias)
    significand = rng.integers(0, 1 << fraction, shape)
    sparse = rng.random(shape) < 0.3
    significand = np.where(sparse, rng.choice([0, 1, (1 << fraction) - 1], shape), significand)
    word = rng.integers(0, 2, shape) << (fraction + exponent) | field << fraction | significand
    kind = np.uint32 if dtype == "f32" else np.uint16
    return word.astype(kind).view(np.float32 if dtype == "f32" else TYPES[dtype])


def _spread(low: int, high: int, c_low: int, c_high: int) -> Callable[[str, np.random.Generator, int], Operands]:
    def make(dtype: str, rng: np.random.Generator, count: int) -> Operands:
        return {
            "a": _bits(dtype, rng, (count, 16, 16), low, high),
            "b": _bits(dtype, rng, (count, 16, 8), low, high),
            "c": _bits("f32", rng, (count, 16, 8), c_low, c_high),
        }

    return make


def _cancel(dtype: str, rng: np.random.Generator, count: int) -> Operands:
    """Large products that cancel in pairs, in one half of the sixteen or across both, and small ones that remain."""
    found = _spread(-4, 4, -12, 4)(dtype, rng, count)
    a, b = found["a"], found["b"]
    big = TYPES[dtype](64.0)
    first = rng.integers(0, 16, count)
    second = (first + rng.integers(1, 16, count)) % 16
    for i in range(count):
        a[i, :, first[i]] = a[i, :, second[i]] = big
        b[i, second[i]] = -b[i, first[i]]
    found["c"][::3] = 0
    return found


def _zeros(dtype: str, rng: np.random.Generator, count: int) -> Operands:
    """Zeros of either sign beside the largest numbers; what is left is small: does a zero's exponent count?"""
    top = 15 if dtype == "f16" else 100
    found = _spread(-13, -9, -30, -18)(dtype, rng, count)
    at = rng.random((count, 1, 16)) < 0.4
    found["a"][...] = np.where(
        at, TYPES[dtype](0.0) * np.sign(found["a"].astype(np.float32)).astype(TYPES[dtype]), found["a"]
    )
    large = TYPES[dtype](1.5 * 2.0 ** (top - 1))
    found["b"][...] = np.where(at.reshape(count, 16, 1), large, found["b"])
    found["c"][::2] = 0
    return found


def _vanishing(dtype: str, rng: np.random.Generator, count: int) -> Operands:
    """Everything zero, of both signs, or subnormal results: which zero comes out."""
    found = _spread(-200, -1, -200, -126)(dtype, rng, count)
    for name in ("a", "b", "c"):
        found[name][rng.random(found[name].shape) < 0.9] *= 0
    return found


def _special(dtype: str, rng: np.random.Generator, count: int) -> Operands:
    """Infinities and NaNs here and there."""
    found = _spread(-3, 3, -3, 3)(dtype, rng, count)
    for name, share in (("a", 0.01), ("b", 0.01), ("c", 0.05)):
        values = np.array([np.inf, -np.inf, np.nan, -np.nan], np.float32).astype(found[name].dtype)
        place = rng.random(found[name].shape) < share
        found[name][place] = rng.choice(values, int(place.sum()))
    found["a"][rng.random(found["a"].shape) < 0.2] = 0
    return found


CLASSES: dict[str, Callable[[str, np.random.Generator, int], Operands]] = {
    "near": _spread(-2, 2, -4, 4),
    "wide": _spread(-8, 8, -16, 16),
    "window": _spread(-7, 0, -26, 2),
    "any": _spread(-200, 127, -200, 127),
    "moderate": _spread(-60, 60, -100, 100),
    "tiny": _spread(-80, -60, -160, -120),
    "subnormal": _spread(-200, -1, -200, -20),
    "huge": _spread(60, 65, 120, 127),
    "cancel": _cancel,
    "zeros": _zeros,
    "vanishing": _vanishing,
    "special": _special,
}


def draw(kind: str, dtype: str, seed: int, count: int) -> Operands:
    """The same operands for the same arguments."""
    rng = np.random.default_rng([seed, *kind.encode(), *dtype.encode()])
    with np.errstate(all="ignore"):
        return CLASSES[kind](dtype, rng, count)
