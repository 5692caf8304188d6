"""Quantised blocks: every bit pattern drawn, scales finite and sensible, decoding exact in f32 and in shape."""

from __future__ import annotations

import time

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from specforge.dtypes import DTYPES
from specforge.spec.kernel import Distribution
from specforge.verify.blocks import Stack, decode, draw_blocks
from specforge.verify.values import generate, stream

BLOCKS = [name for name, dtype in DTYPES.items() if dtype.is_block]
DISTRIBUTIONS = list(Distribution.__args__)
SCALES = {"q4_k": (0, 2), "q5_k": (0, 2), "q6_k": (208,), "q8_0": (0,), "q5_0": (0,)}
"""Where f16 values lie in a block."""


def half(blocks: np.ndarray, place: int) -> np.ndarray:
    return np.ascontiguousarray(blocks[:, place : place + 2]).view(np.float16).astype(np.float64).reshape(-1)


def six_bits(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and minima [blocks, 8] of 12 packed bytes."""
    low, middle, high = (packed[:, start : start + 4] for start in (0, 4, 8))
    scales = np.concatenate([low & 63, (high & 15) | (low >> 6 << 4)], axis=1)
    return scales, np.concatenate([middle & 63, (high >> 4) | (middle >> 6 << 4)], axis=1)


def by_hand(blocks: np.ndarray, dtype: str) -> np.ndarray:
    """The values in float64, where no product and no difference of these is rounded."""
    count = len(blocks)
    d = half(blocks, SCALES[dtype][0])[:, None]
    if dtype == "q8_0":
        return d * blocks[:, 2:].view(np.int8)
    if dtype == "q5_0":
        high = np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little")
        quants = np.concatenate([blocks[:, 6:] & 15, blocks[:, 6:] >> 4], axis=1) | (high << 4)
        return d * (quants.astype(np.float64) - 16)
    if dtype == "q6_k":
        low, high = blocks[:, :128].reshape(count, 2, 2, 32), blocks[:, 128:192].reshape(count, 2, 32)
        low = np.stack([low[:, :, 0] & 15, low[:, :, 1] & 15, low[:, :, 0] >> 4, low[:, :, 1] >> 4], axis=2)
        high = np.stack([high >> shift & 3 for shift in (0, 2, 4, 6)], axis=2)
        quants = (low | high << 4).astype(np.float64) - 32
        scales = blocks[:, 192:208].view(np.int8).astype(np.float64)
        return d * np.repeat(scales, 16, axis=1) * quants.reshape(count, 256)
    scales, minima = six_bits(blocks[:, 4:16])
    start = 16 if dtype == "q4_k" else 48
    bytes_ = blocks[:, start:].reshape(count, 4, 1, 32)
    quants = np.concatenate([bytes_ & 15, bytes_ >> 4], axis=2).reshape(count, 8, 32)
    if dtype == "q5_k":
        quants = quants | np.stack([blocks[:, 16:48] >> bit & 1 for bit in range(8)], axis=1) << 4
    values = d[..., None] * scales[..., None] * quants - half(blocks, 2)[:, None, None] * minima[..., None]
    return values.reshape(count, 256)


@pytest.mark.parametrize("dtype", BLOCKS)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_decoding_drawn_blocks_is_exact_in_f32(distribution: str, dtype: str) -> None:
    blocks = draw_blocks(distribution, 20_000, dtype, stream(3, "w"))
    exact = by_hand(blocks, dtype)
    assert np.isfinite(exact).all()
    np.testing.assert_array_equal(dequantize(blocks, GGMLQuantizationType[dtype.upper()]), exact)
    np.testing.assert_array_equal(decode(blocks, exact.shape, dtype), exact)


@pytest.mark.parametrize("dtype", ["q4_k", "q5_k"])
def test_a_scale_that_were_drawn_farther_off_would_not_be_exact(dtype: str) -> None:
    blocks = draw_blocks("normal", 2000, dtype, stream(3, "w"))
    blocks[:, 0:2] = np.full(2000, 2.0**-3 + 2.0**-13, np.float16).view(np.uint8).reshape(-1, 2)
    blocks[:, 2:4] = np.full(2000, 2.0**-13 + 2.0**-23, np.float16).view(np.uint8).reshape(-1, 2)
    assert (dequantize(blocks, GGMLQuantizationType[dtype.upper()]) != by_hand(blocks, dtype)).any()


@pytest.mark.parametrize("dtype", BLOCKS)
def test_every_pattern_is_drawn_and_weights_are_small(dtype: str) -> None:
    blocks = draw_blocks("normal", 20_000, dtype, stream(1, "w"))
    plain = np.delete(blocks, [place + byte for place in SCALES[dtype] for byte in (0, 1)], axis=1)
    for column in plain.T:
        assert len(np.unique(column)) == 256
    if dtype in ("q4_k", "q5_k"):
        scales, minima = six_bits(blocks[:, 4:16])
        for part in (*scales.T, *minima.T):
            assert len(np.unique(part)) == 64
    for place in SCALES[dtype]:
        scale = half(blocks, place)
        assert 0.4 < (scale < 0).mean() < 0.6
        assert len(np.unique(scale)) > 1000
    assert 2**-8 < np.sqrt((by_hand(blocks, dtype) ** 2).mean()) < 2**-3


@pytest.mark.parametrize("dtype", BLOCKS)
def test_distributions_are_what_they_are_called(dtype: str) -> None:
    size = {
        name: np.abs(by_hand(draw_blocks(name, 4096, dtype, stream(1, "w")), dtype)).max(axis=1)
        for name in DISTRIBUTIONS
    }
    middle = np.median(size["normal"])
    assert size["tiny"].max() < middle / 8
    assert size["wide"].max() > 64 * middle
    assert 0.008 < (size["spiky"] > 16 * middle).mean() < 0.025
    assert len(np.unique(draw_blocks("ties", 4096, dtype, stream(1, "w")), axis=0)) in (2, 3, 4)
    assert len(np.unique(draw_blocks("constant", 4096, dtype, stream(1, "w")), axis=0)) == 1


@pytest.mark.parametrize("dtype", BLOCKS)
def test_a_tensor_is_bytes_and_decodes_to_its_shape(dtype: str) -> None:
    element = DTYPES[dtype]
    stored = generate("normal", (3, 5, 2 * element.block), dtype, stream(1, "w"))
    assert stored.shape == (3, 5, 2 * element.block_bytes)
    assert stored.dtype == np.uint8
    assert stored.flags.c_contiguous
    values = decode(stored, (3, 5, 2 * element.block), dtype)
    assert values.dtype == np.float64
    row = by_hand(stored[1, 2].reshape(2, -1), dtype).reshape(-1)
    np.testing.assert_array_equal(values[1, 2], row)


def test_a_large_tensor_is_drawn_and_decoded_in_seconds() -> None:
    begin = time.monotonic()
    stored = generate("normal", (16_384, 4096), "q4_k", stream(1, "w"))
    assert stored.shape == (16_384, 2304)
    same = (stored[1:] == stored[:-1]).all(axis=1).mean()
    assert same < 1e-3
    values = decode(stored, (16_384, 4096), "q4_k")
    np.testing.assert_array_equal(values[-1], by_hand(stored[-1].reshape(-1, 144), "q4_k").reshape(-1))
    assert time.monotonic() - begin < 20


def test_a_stack_decodes_what_is_asked_for() -> None:
    shape = (2, 3, 5, 64)
    stored = generate("normal", shape, "q8_0", stream(1, "w"))
    whole, stack = decode(stored, shape, "q8_0"), Stack(stored, shape, "q8_0")
    assert (stack.shape, stack.ndim, len(stack), stack[1].shape) == (shape, 4, 2, shape[1:])
    np.testing.assert_array_equal(stack[1][2], whole[1, 2])
    np.testing.assert_array_equal(stack[np.int64(0)][-1], whole[0, -1])
    np.testing.assert_array_equal(stack[:, 1], whole[:, 1])
    np.testing.assert_array_equal(np.abs(stack), np.abs(whole))
    np.testing.assert_array_equal(whole[..., :1] @ stack[0][0][:1], whole[..., :1] @ whole[0, 0, :1])
