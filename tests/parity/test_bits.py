"""Bits compared: what is equal, how far apart, and where."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from specforge.parity.bits import Difference, compare_bits
from specforge.spec.geometry import BufferPlan, Plan, Tolerance

TYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i32": np.int32}


def compare(dtype: str, card, emulator) -> Difference:
    one, other = (np.array(values, TYPES[dtype]) for values in (card, emulator))
    buffer = BufferPlan("out", one.shape, dtype, "out", (), "hot", (0,))
    case = Plan("test/kernel", "", {}, {}, (buffer,), (), 1.0, 1.0, 1, {"out": Tolerance(True)})
    (found,) = compare_bits(case, {"out": one}, {"out": other})
    return found


@pytest.mark.parametrize("dtype", TYPES)
def test_equal(dtype):
    found = compare(dtype, [1, 2, -3], [1, 2, -3])
    assert (found.unequal, found.ulps, found.elements) == (0, 0, 3)


@pytest.mark.parametrize(
    ("dtype", "card", "emulator", "ulps"),
    [
        ("f32", 1.0, 1.0 + 2.0**-23, 1),
        ("f32", 1.0, 1.0 - 2.0**-24, 1),
        ("f32", 0.0, -0.0, 1),
        ("f32", 2.0**-149, -(2.0**-149), 3),
        ("f32", np.inf, np.finfo(np.float32).max, 1),
        ("bf16", 1.0, 1.0 + 2.0**-7, 1),
        ("f16", -1.0, -1.0 - 2.0**-10, 1),
        ("i32", -7, 5, 12),
    ],
)
def test_distance(dtype, card, emulator, ulps):
    found = compare(dtype, [[3, card, 2]], [[3, emulator, 2]])
    assert (found.unequal, found.ulps, found.index) == (1, ulps, (0, 1))
    assert found.ulps == compare(dtype, [[3, emulator, 2]], [[3, card, 2]]).ulps


def test_nan_differs_from_everything_but_its_own_bits():
    quiet, other = np.array([0x7FC00000, 0x7FFFFFFF], np.uint32).view(np.float32)
    assert compare("f32", [quiet], [quiet]).unequal == 0
    assert compare("f32", [quiet], [other]).unequal == 1
    assert compare("f32", [np.nan], [1.0]).unequal == 1


def test_the_sentence_names_element_and_both_values():
    text = str(compare("f32", [0.5, 1.0], [0.5, 1.0 + 2.0**-22]))
    assert text.startswith("out[1] is 1 (0x1.0000000000000p+0) on the card and 1.00000024 (0x1.0000040000000p+0)")
    assert text.endswith("2 apart; 1 of 2 elements differ")
    assert "out[0] is 4 on the card and 5 on the emulator" in str(compare("i32", [4], [5]))


@given(arrays.arrays(np.uint32, 5), arrays.arrays(np.uint32, 5), st.booleans())
def test_unequal_is_exactly_unequal_bits(one, other, same):
    other = one.copy() if same else other
    buffer = BufferPlan("out", (5,), "f32", "out", (), "hot", (0,))
    plan = Plan("test/kernel", "", {}, {}, (buffer,), (), 1.0, 1.0, 1, {"out": Tolerance(True)})
    (found,) = compare_bits(plan, {"out": one.view(np.float32)}, {"out": other.view(np.float32)})
    assert found.unequal == int((one != other).sum())
    assert (found.ulps == 0) == bool((one == other).all())


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"float32\(1,\) on one side"):
        compare("f32", [1.0], [1.0, 2.0])
