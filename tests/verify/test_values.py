"""Input values: deterministic, finite, exactly of the storage type, and rows that differ."""

from __future__ import annotations

import time

import numpy as np
import pytest

from specforge.dtypes import DTYPES
from specforge.spec.kernel import Distribution
from specforge.verify.reference import widen
from specforge.verify.values import CHUNK, POOL, generate, stream

DISTRIBUTIONS = list(Distribution.__args__)


@pytest.mark.parametrize("dtype", [name for name, dtype in DTYPES.items() if not dtype.is_block])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_distribution_in_every_type(distribution: str, dtype: str) -> None:
    first = generate(distribution, (7, 33), dtype, stream(5, "x"))
    assert first.shape == (7, 33)
    assert first.dtype == DTYPES[dtype].numpy()
    assert first.flags.c_contiguous
    assert np.isfinite(widen(first)).all()
    again = generate(distribution, (7, 33), dtype, stream(5, "x"))
    assert first.tobytes() == again.tobytes()
    if distribution != "constant":
        assert len(np.unique(widen(first))) > 1


def test_streams_differ_by_seed_and_by_tensor() -> None:
    draws = {generate("normal", (8,), "f32", stream(seed, name)).tobytes() for seed in (0, 1) for name in ("k", "v")}
    assert len(draws) == 4


@pytest.mark.parametrize(
    ("distribution", "low", "high"),
    [("normal", 3.0, 6.0), ("wide", 200.0, 256.0), ("tiny", 3 / 1024, 6 / 1024), ("ties", 0.0, 2.0), ("spiky", 60, 64)],
)
def test_sizes(distribution: str, low: float, high: float) -> None:
    assert low <= np.abs(generate(distribution, (1 << 16,), "f32", stream(1, "x"))).max() <= high


def test_spikes_are_few_and_outweigh_the_rest() -> None:
    values = np.abs(generate("spiky", (1 << 16,), "f32", stream(1, "x")))
    assert 0.01 < (values >= 16).mean() < 0.022
    assert values[values < 16].max() < 1


def test_constant_and_ties() -> None:
    assert len(np.unique(generate("constant", (64, 64), "bf16", stream(2, "x")))) == 1
    assert 2 <= len(np.unique(generate("ties", (64, 64), "f16", stream(2, "x")))) <= 4


@pytest.mark.parametrize("width", [64, 128, 4096, CHUNK])
def test_a_wrong_row_of_a_large_tensor_shows(width: int) -> None:
    rows = generate("normal", (6 * POOL // width, width), "bf16", stream(3, "k")).view(np.uint16)
    for wrong in (1, 2, 8, 17, 64, POOL // width, len(rows) // 2):
        same = (rows[wrong:] == rows[:-wrong]).all(axis=1).mean()
        assert same < 0.01
        assert (rows[wrong:] == rows[:-wrong]).mean() < 0.05


def test_a_large_tensor_is_fast_and_ends_where_it_must() -> None:
    start = time.perf_counter()
    values = generate("normal", (30_000_001,), "bf16", stream(4, "k"))
    assert time.perf_counter() - start < 2
    assert values.shape == (30_000_001,)
    assert abs(widen(values[-CHUNK:]).mean()) < 0.1
    assert 0.9 < widen(values[-CHUNK:]).std() < 1.1


def test_an_unknown_distribution_is_no_silent_default() -> None:
    with pytest.raises(KeyError):
        generate("gaussian", (1,), "f32", stream(0, "x"))
