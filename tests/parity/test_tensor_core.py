"""The emulator's tensor cores, bit for bit against exact rational arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specforge.backend.emulator.module import EmulatedModule
from tests.parity.tensor_core import CORES, FORMATS, add

SOURCE = (Path(__file__).parents[1] / "backend" / "emulator" / "mma.cu").read_text()
Multiply = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@pytest.fixture(scope="module", params=sorted(CORES))
def capability(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def module(build, capability) -> EmulatedModule:
    return build(SOURCE, ["multiply_bf16", "multiply_f16"], capability)


def multiply(module: EmulatedModule, launch, dtype: str, a: np.ndarray, b: np.ndarray, d: np.ndarray) -> np.ndarray:
    """a [16, 16] and b [16, 8] as 16-bit words, d [16, 8] as 32-bit words; the result likewise."""
    result = d.copy()
    launch(module, f"multiply_{dtype}", np.ascontiguousarray(a), np.ascontiguousarray(b), result)
    return result


def words(dtype: str, spread: int) -> st.SearchStrategy[int]:
    """Bits of finite numbers: any, and those near one exponent so that cancellation and cutting meet."""
    fraction, exponent = FORMATS[dtype]
    highest = (1 << exponent) - 1
    low = st.integers(0, (1 << fraction) - 1) | st.sampled_from([0, 1, (1 << fraction) - 1])
    middle = highest // 2
    field = st.integers(max(0, middle - spread), min(highest - 1, middle + spread))
    return st.builds(lambda s, e, f: s << (fraction + exponent) | e << fraction | f, st.booleans(), field, low)


@st.composite
def operands(draw: st.DrawFn) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """A small set of numbers of each kind, spread over the matrices by a seed: Hypothesis chooses what, not where."""
    dtype = draw(st.sampled_from(["bf16", "f16"]))
    spread = draw(st.sampled_from([0, 2, 8, 15, 130]))
    values = st.lists(words(dtype, spread) | st.just(0), min_size=1, max_size=12)
    starts = st.lists(words("f32", 2 * spread) | st.just(0), min_size=1, max_size=12)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    a, b = (rng.choice(np.array(draw(values), np.uint16), size) for size in ((16, 16), (16, 8)))
    return dtype, a, b, rng.choice(np.array(draw(starts), np.uint32), (16, 8))


@settings(max_examples=60, deadline=None)
@given(drawn=operands())
def test_it_equals_exact_arithmetic(module, launch, capability, drawn):
    dtype, a, b, d = drawn
    got = multiply(module, launch, dtype, a, b, d).view(np.float32)
    for m in range(0, 16, 5):
        for n in range(8):
            want = add(int(d[m, n]), a[m].tolist(), b[:, n].tolist(), dtype, capability)
            assert got[m, n] == want, (m, n, float(got[m, n]).hex(), want.hex())


def bits16(values, dtype: str) -> np.ndarray:
    import ml_dtypes

    return np.asarray(values, np.float32).astype({"bf16": ml_dtypes.bfloat16, "f16": np.float16}[dtype]).view(np.uint16)


def one(module, launch, dtype: str, start: float, a: list[float], b: list[float]) -> float:
    """A single element: start + a . b, the rest zero."""
    left, right = np.zeros((16, 16), np.float32), np.zeros((16, 8), np.float32)
    left[0, : len(a)], right[: len(b), 0] = a, b
    d = np.zeros((16, 8), np.float32)
    d[0, 0] = start
    return float(
        multiply(module, launch, dtype, bits16(left, dtype), bits16(right, dtype), d.view(np.uint32)).view(np.float32)[
            0, 0
        ]
    )


def test_what_lies_below_the_window_is_cut_before_it_can_add_up(module, launch, capability):
    _, kept = CORES[capability]
    small = 2.0**-13
    for size, counts in ((2.0 ** -(kept + 1), False), (2.0**-kept, True)):
        # eight products of `size` would make 8 * size, if each survived being aligned to 1
        got = one(module, launch, "bf16", 1.0, [small] * 8, [size / small] * 8)
        assert got == (1.0 + 8 * size if counts else 1.0)


def test_blocks_are_added_one_after_another(module, launch, capability):
    # 1, then -1 in the other half: what was cut in the first block is gone, where all sixteen are one block too
    a, b = [2.0**-12] + [0.0] * 7 + [1.0], [2.0**-12] + [0.0] * 7 + [-1.0]
    assert one(module, launch, "bf16", 1.0, a, b) == {80: 0.0, 90: 2.0**-24}[capability]


def test_rounding_is_toward_zero(module, launch):
    for sign in (1.0, -1.0):
        assert one(module, launch, "f16", sign, [sign * 2.0**-12], [2.0**-12 * 1.5]) == sign


def test_the_largest_sums_become_infinite(module, launch):
    huge = 2.0**127
    assert one(module, launch, "bf16", 0.0, [huge], [2.0]) == np.inf
    assert one(module, launch, "bf16", 0.0, [huge, huge], [-2.0, 1.0]) == -huge


def test_subnormals_are_kept(module, launch):
    assert one(module, launch, "bf16", 0.0, [2.0**-133], [2.0**-16]) == 2.0**-149
    assert one(module, launch, "f16", 0.0, [2.0**-24], [2.0**-24]) == 2.0**-48
    assert one(module, launch, "f16", 2.0**-149, [0.0], [1.0]) == 2.0**-149


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_infinities_and_nans(module, launch, dtype):
    a, b, d = np.ones((16, 16), np.float32), np.ones((16, 8), np.float32), np.zeros((16, 8), np.float32)
    a[3, 9], a[4, 2], b[5, 6], d[7, 1], d[8, 2] = np.inf, -np.inf, np.nan, np.inf, np.nan
    a[9, 0], d[9, 0] = np.inf, -np.inf
    got = multiply(module, launch, dtype, bits16(a, dtype), bits16(b, dtype), d.view(np.uint32)).view(np.float32)
    assert (got.view(np.uint32)[:, 6] == 0x7FFFFFFF).all()
    assert (np.delete(got[3], 6) == np.inf).all()
    assert (np.delete(got[4], 6) == -np.inf).all()
    assert got[7, 1] == np.inf
    assert np.isnan(got[8, 2])
    assert np.isnan(got[9, 0])
    assert got[0, 0] == 16
