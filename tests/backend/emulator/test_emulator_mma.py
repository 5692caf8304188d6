"""The collectives of mma.cuh and mma_e4m3.cuh on the emulator, against numpy."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from specforge.backend.emulator.module import EmulationFault

SOURCE = (Path(__file__).parent / "mma.cu").read_text()
TYPES = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
SCHEDULES = [0, 1, 7]


@pytest.fixture(scope="module")
def kernels(build):
    return build(SOURCE, ["multiply_bf16", "multiply_f16", "multiply_e4m3", "widen_bytes", "transpose", "meet"])


def operands(dtype: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a [16, 16], b [16, 8] and d [16, 8]; magnitudes from f16's subnormals to thousands."""
    draw = np.random.default_rng(seed)
    a, b = (
        (draw.normal(size=shape) * 2.0 ** draw.integers(-20, 10, shape)).astype(TYPES[dtype])
        for shape in [(16, 16), (16, 8)]
    )
    return a, b, draw.normal(size=(16, 8)).astype(np.float32)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("dtype", TYPES)
def test_multiply(kernels, dtype, schedule):
    a, b, d = operands(dtype, schedule)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    want = d + wide_a @ wide_b
    size = np.abs(d) + np.abs(wide_a) @ np.abs(wide_b)
    got = d.copy()
    kernels.launch(f"multiply_{dtype}", a, b, got, schedule=schedule)
    assert (np.abs(got - want) <= 5.01 * 2.0**-24 * size).all()
    assert (got != d).any()


@pytest.mark.parametrize("dtype", TYPES)
def test_products_are_added_by_halving(kernels, dtype):
    a, b, d = operands(dtype, 3)
    parts = a.astype(np.float32)[:, :, None] * b.astype(np.float32)[None]
    while parts.shape[1] > 1:
        half = parts.shape[1] // 2
        parts = parts[:, :half] + parts[:, half:]
    got = d.copy()
    kernels.launch(f"multiply_{dtype}", a, b, got)
    np.testing.assert_array_equal(got, d + parts[:, 0])


@pytest.mark.parametrize("dtype", TYPES)
def test_infinities_and_nans_pass_through(kernels, dtype):
    a, b, d = np.ones((16, 16), TYPES[dtype]), np.ones((16, 8), TYPES[dtype]), np.zeros((16, 8), np.float32)
    a[3, 9], a[4, 2], b[5, 6] = np.inf, -np.inf, np.nan
    kernels.launch(f"multiply_{dtype}", a, b, d)
    assert np.isnan(d[:, 6]).all()
    kept = np.delete(d, 6, axis=1)
    assert (kept[3] == np.inf).all()
    assert (kept[4] == -np.inf).all()
    assert (np.delete(kept, [3, 4], axis=0) == 16).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_multiply_e4m3(kernels, schedule):
    draw = np.random.default_rng(schedule)
    # every finite byte: 0x7f and 0xff are NaN
    a, b = (draw.integers(0, 255, shape).astype(np.uint8) for shape in [(16, 32), (32, 8)])
    a[a == 0x7F], b[b == 0x7F] = 0x7E, 0x7E
    wide_a, wide_b = (x.view(ml_dtypes.float8_e4m3fn).astype(np.float64) for x in (a, b))
    d = draw.normal(size=(16, 8)).astype(np.float32)
    got = d.copy()
    kernels.launch("multiply_e4m3", a, b, got, schedule=schedule)
    size = np.abs(d) + np.abs(wide_a) @ np.abs(wide_b)
    assert (np.abs(got - (d + wide_a @ wide_b)) <= 10.01 * 2.0**-24 * size).all()
    assert (got != d).any()


@pytest.mark.parametrize("place", [(3, 9), (12, 30)])
def test_a_nan_of_e4m3_takes_its_row(kernels, place):
    a, b, d = np.full((16, 32), 0x38, np.uint8), np.full((32, 8), 0x38, np.uint8), np.zeros((16, 8), np.float32)
    a[place] = 0xFF
    kernels.launch("multiply_e4m3", a, b, d)
    assert np.isnan(d[place[0]]).all()
    assert (np.delete(d, place[0], axis=0) == 32).all()


def test_every_byte_widens_exactly(kernels):
    codes = np.arange(256, dtype=np.uint8)
    halves = np.zeros(256, np.float16)
    kernels.launch("widen_bytes", codes, halves)
    np.testing.assert_array_equal(halves, codes.view(ml_dtypes.float8_e4m3fn).astype(np.float16))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_transpose_is_exact(kernels, schedule):
    x = np.random.default_rng(schedule).integers(0, 2**16, (8, 8)).astype(np.uint16)
    y = np.zeros_like(x)
    kernels.launch("transpose", x, y, schedule=schedule)
    np.testing.assert_array_equal(y, x.T)


def test_a_partial_warp_is_refused(kernels):
    with pytest.raises(EmulationFault, match=r"transpose_8x8: warp 0 has only lanes 0x0000ffff"):
        kernels.launch("transpose", np.zeros(16, np.uint32), np.zeros(16, np.uint32), block=16)


def test_another_collective_is_not_met(kernels):
    with pytest.raises(EmulationFault, match=r"(__shfl_sync|transpose_8x8) .* meets"):
        kernels.launch("meet", np.zeros(32, np.uint32))
