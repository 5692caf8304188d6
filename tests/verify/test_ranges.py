"""Ranges: within their bounds, both ends met, distinct where they say so, fast when large, and named in rows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from specforge.diagnostics import SpecForgeError
from specforge.spec.bounds import Bounds
from specforge.spec.interface import Kernel
from specforge.verify.draw import Drawer
from specforge.verify.example import Example, draw_inputs, plan_example
from specforge.verify.row import parse_row
from specforge.verify.values import POOL, generate, stream
from tests.verify.conftest import KERNEL, REFERENCE

SCALE = "{shape: [rows], dtype: f32, role: in, values: [normal, constant]}"
IDS = '{shape: [rows, group], dtype: i32, role: in, values: [{distinct: 64}, {between: [0, "width - 1"]}, ties]}'


@pytest.fixture
def picking(make_kernel: Callable[[str, str], Kernel]) -> Kernel:
    assert SCALE in KERNEL
    return make_kernel(KERNEL.replace(SCALE, IDS), REFERENCE)


@pytest.mark.parametrize("dtype", ["i32", "i64", "u8", "i8", "u32"])
def test_whole_numbers_are_uniform_and_meet_both_ends(dtype: str) -> None:
    drawn = generate(Bounds("between", 3, 7), (40, 50), dtype, stream(1, "ids"))
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [3, 4, 5, 6, 7]
    assert counts.min() > 300
    assert generate(Bounds("between", 5, 5), (3,), dtype, stream(1, "ids")).tolist() == [5, 5, 5]


def test_the_whole_of_a_type() -> None:
    assert np.unique(generate(Bounds("between", -128, 127), (1 << 14,), "i8", stream(1, "x"))).size == 256
    wide = generate(Bounds("between", 0, 2**32 - 1), (1 << 14,), "u32", stream(1, "x"))
    assert wide.dtype == np.uint32
    assert wide.max() > 2**31


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_fractions_above_zero_have_a_uniform_logarithm(dtype: str) -> None:
    drawn = generate(Bounds("between", 2.0**-12, 1.0), (1 << 14,), dtype, stream(1, "x")).astype(np.float64)
    assert 2.0**-12 <= drawn.min() < 2.0**-11
    assert 0.5 < drawn.max() <= 1
    assert 2.0**-6.5 < np.median(drawn) < 2.0**-5.5


def test_fractions_around_zero_are_uniform() -> None:
    drawn = generate(Bounds("between", -2.0, 6.0), (1 << 14,), "f32", stream(1, "x"))
    assert -2 <= drawn.min() < -1.9
    assert 5.9 < drawn.max() <= 6
    assert 1.8 < np.median(drawn) < 2.2


@pytest.mark.parametrize(("rows", "width", "choices"), [(3, 8, 8), (500, 8, 256), (9000, 4, 5), (2, 3, 2**30)])
def test_distinct_along_the_last_axis(rows: int, width: int, choices: int) -> None:
    drawn = generate(Bounds("distinct", 0, choices - 1), (rows, width), "i32", stream(1, "ids"))
    assert drawn.shape == (rows, width)
    assert drawn.dtype == np.int32
    assert drawn.min() >= 0
    assert drawn.max() < choices
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    if rows > 2:
        assert len(np.unique(drawn[:, 0])) > 2


def test_a_permutation_is_distinct_everywhere() -> None:
    drawn = generate(Bounds("permutation", 0, 99), (5, 20), "i32", stream(1, "pages"))
    assert sorted(drawn.reshape(-1).tolist()) == list(range(100))
    assert drawn.reshape(-1).tolist() != list(range(100))
    few = generate(Bounds("permutation", 0, 999), (4, 3), "i64", stream(1, "pages"))
    assert len(np.unique(few)) == 12


def test_large_ones_are_fast() -> None:
    begin = time.monotonic()
    generate(Bounds("between", 0, 99), (20 * POOL,), "i32", stream(1, "a"))
    generate(Bounds("between", 0.5, 1.0), (8 * POOL,), "bf16", stream(1, "a"))
    generate(Bounds("distinct", 0, 255), (1 << 18, 8), "i32", stream(1, "b"))
    generate(Bounds("distinct", 0, (1 << 20) - 1), (64, 1 << 16), "i32", stream(1, "b"))
    generate(Bounds("permutation", 0, (1 << 22) - 1), (1 << 11, 1 << 11), "i32", stream(1, "c"))
    assert time.monotonic() - begin < 10


def test_the_same_seed_gives_the_same_values(picking: Kernel) -> None:
    example = Example({"rows": 4, "width": 9, "dtype": "bf16", "group": 2, "signed": True}, seed=3)
    case = plan_example(picking, example, {})
    first, again = draw_inputs(case, example), draw_inputs(case, example)
    assert first["scale"].tobytes() == again["scale"].tobytes()
    assert first["x"].dtype == np.dtype(ml_dtypes.bfloat16)
    assert first["scale"].max() < 64
    assert (first["scale"][:, 0] != first["scale"][:, 1]).all()


def test_examples_name_ranges_and_replay(picking: Kernel) -> None:
    drawer = Drawer(picking, [{"dtype": "f32", "group": 2, "signed": False, "warps": 4}], 1e5, {})
    rng = random.Random(1)
    drawn = [pair[1] for pair in (drawer.draw(lambda most: rng.randint(0, most)) for _ in range(60)) if pair]
    assert {example.values.get("scale", "distinct") for example in drawn} == {"distinct", "between", "ties"}
    for example in drawn:
        assert parse_row(example.to_row(), picking) == example
        scale = draw_inputs(plan_example(picking, example, {}), example)["scale"]
        if example.values.get("scale") == "between":
            assert 0 <= scale.min() <= scale.max() < example.parameters["width"]
    row = "{rows: 2, width: 3, dtype: f32, group: 1, signed: true, values: {scale: between}, seed: 7}"
    assert parse_row(row, picking).to_row() == row
    with pytest.raises(SpecForgeError, match="did you mean 'between'"):
        parse_row(row.replace("between", "between_2"), picking)
