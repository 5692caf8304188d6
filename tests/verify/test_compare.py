"""Comparison: the declared bound, nothing else; the worst element and the wrong rows; NaN never passes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from specforge.spec.geometry import BufferPlan, Plan, Tolerance
from specforge.verify.compare import OutputError, judge, stored


def planned(shape: tuple[int, ...], dtype: str, tolerance: Tolerance, rows: tuple[int, ...] | None = None) -> Plan:
    named = tuple(range(len(shape) - 1)) if rows is None else rows
    buffer = BufferPlan("out", shape, dtype, "out", ("normal",), "hot", named)
    return Plan("toy/none", "reference.py", {}, {}, (buffer,), (), 1.0, 1.0, 1.0, {"out": tolerance})


def compare(
    got: np.ndarray, want: np.ndarray, tolerance: Tolerance, magnitude: np.ndarray | None = None
) -> OutputError:
    dtype = {"float32": "f32", "float16": "f16", "int32": "i32", "uint8": "u8"}[got.dtype.name]
    reference = {"out": want} | ({} if magnitude is None else {"out_magnitude": magnitude})
    (error,) = judge(planned(want.shape, dtype, tolerance), {"out": got}, reference)
    return error


WANT = np.arange(1.0, 13.0).reshape(3, 4)


def test_each_term_of_the_bound() -> None:
    got = (WANT + 0.5).astype(np.float32)
    assert compare(got, WANT, Tolerance(False, absolute=0.5)).ratio == 1
    assert compare(got, WANT, Tolerance(False, absolute=0.25)).ratio == 2
    assert compare(got, WANT, Tolerance(False, relative=0.25)).ratio == 2
    assert compare(got, WANT, Tolerance(False, conditioned=0.25), np.full((3, 4), 2.0)).ratio == 1
    both = compare(got, WANT, Tolerance(False, 0.125, 0.0625, 0.25), np.full((3, 4), 2.0))
    assert both.ratio == 0.5 / (0.125 + 0.125 + 0.25)
    assert both.passed


def test_the_worst_element_and_the_wrong_rows() -> None:
    got = WANT.astype(np.float32)
    got[1, 2] += 3
    got[1, 3] += 1
    got[2, 0] += 1
    error = compare(got, WANT, Tolerance(False, absolute=0.1))
    assert (error.index, error.row, error.got, error.want) == ((1, 2), (1,), 10.0, 7.0)
    assert (error.wrong, error.total, error.wrong_rows, error.total_rows) == (3, 12, 2, 3)
    assert (
        str(error)
        == "out[1, 2] is 10, the reference says 7: off by 3 where 0.1 is allowed, 30x the tolerance; 2 of 3 rows wrong"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_passes(value: float) -> None:
    got = WANT.astype(np.float32)
    got[2, 3] = value
    error = compare(got, WANT, Tolerance(False, 1e9, 0.0, 1e30))
    assert error.ratio == math.inf
    assert error.index == (2, 3)
    assert f"out[2, 3] is {'NaN' if math.isnan(value) else value}" in str(error)


def test_zero_tolerance_divides_by_nothing() -> None:
    zeros = np.zeros((2, 2))
    assert compare(zeros.astype(np.float32), zeros, Tolerance(False)).ratio == 0
    error = compare(np.full((2, 2), 1e-30, np.float32), zeros, Tolerance(False, relative=0.5))
    assert error.ratio == math.inf
    assert "they must be equal" in str(error)


def test_exact_outputs() -> None:
    want = np.arange(6).reshape(2, 3)
    got = want.astype(np.int32)
    assert compare(got, want, Tolerance(True)).ratio == 0
    got[0, 1] = 17
    error = compare(got, want, Tolerance(True))
    assert str(error) == "out[0, 1] is 17, the reference says 1: they must be equal; 1 of 2 rows wrong"


def test_whole_numbers_that_rounding_may_tip() -> None:
    """Where the magnitude is 0 they are exact; at a tie the neighbour will do, and no other."""
    want, ties = np.array([[4, 64, -7]]), np.array([[0.0, 1.0, 0.0]])
    tied = Tolerance(False, conditioned=1.0)
    assert compare(np.array([[4, 63, -7]], np.int32), want, tied, ties).passed
    assert not compare(np.array([[4, 62, -7]], np.int32), want, tied, ties).passed
    error = compare(np.array([[4, 64, -8]], np.int32), want, tied, ties)
    assert str(error).startswith("out[0, 2] is -8, the reference says -7: they must be equal")


def test_half_of_one_is_no_error_where_the_reference_says_what_is_rounded() -> None:
    """Beyond it the declared bound counts, and where that is 0 nothing."""
    want, sizes = np.array([[4.4, 63.5, -7.0]]), np.array([[1.0, 1.0, 0.0]])
    bound = Tolerance(False, conditioned=0.2)
    assert compare(np.array([[4, 64, -7]], np.int32), want, bound, sizes).ratio == 0
    assert compare(np.array([[5, 63, -7]], np.int32), want, bound, sizes).ratio == pytest.approx(0.5)
    error = compare(np.array([[6, 63, -7]], np.int32), want, bound, sizes)
    assert str(error).startswith(
        "out[0, 0] is 6, the reference says 4.4: off by 1.1 beyond its rounding where 0.2 is allowed"
    )
    assert ", 5.5x the tolerance" in str(error)
    error = compare(np.array([[4, 63, -6]], np.int32), want, bound, sizes)
    assert str(error).startswith("out[0, 2] is -6, the reference says -7.0: off by 0.5 beyond its rounding where 0 is")


def test_what_a_kernel_without_an_error_stores() -> None:
    """Whole numbers as they are, beyond what a float64 tells apart, too; what is to be rounded to the nearest, even."""
    (buffer,) = planned((2,), "i64", Tolerance(True)).buffers
    large = np.array([2**53 + 1, 2**63 - 1])
    np.testing.assert_array_equal(stored(buffer, {"out": large}), large)
    np.testing.assert_array_equal(stored(buffer, {"out": np.array([2.5, -0.6])}), [2, -1])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_poison_is_recognised(dtype: str) -> None:
    want = np.arange(6).reshape(2, 3)
    got = want.astype(dtype)
    got.view(np.uint8).reshape(2, -1)[1, -got.itemsize :] = 0xFF
    exact = Tolerance(True)
    error = compare(got, want if dtype == "int32" else want.astype(np.float64), exact)
    assert error.unwritten == 1
    assert "out[1, 2] was never written" in str(error)
    got[0, 0] = 9
    mixed = compare(got, want if dtype == "int32" else want.astype(np.float64), exact)
    assert "1 elements never written" in str(mixed)


def test_one_byte_of_poison_proves_nothing() -> None:
    assert compare(np.full((1, 2), 255, np.uint8), np.zeros((1, 2), np.int64), Tolerance(True)).unwritten == 0


def test_values_that_look_alike_are_told_apart() -> None:
    error = compare(np.full((1, 1), 1.00001, np.float32), np.ones((1, 1)), Tolerance(False, absolute=1e-7))
    assert "is 1.00001, the reference says 1:" in str(error)


def test_rows_of_any_axes() -> None:
    buffer_plan = planned((2, 3, 4), "f32", Tolerance(True), rows=(1,))
    got = np.zeros((2, 3, 4), np.float32)
    got[0, 1, 0] = got[1, 1, 3] = 1
    (error,) = judge(buffer_plan, {"out": got}, {"out": np.zeros((2, 3, 4))})
    assert (error.wrong_rows, error.total_rows, error.row) == (1, 3, (1,))
    whole = planned((4,), "f32", Tolerance(True))
    (error,) = judge(whole, {"out": np.ones(4, np.float32)}, {"out": np.zeros(4)})
    assert "4 of 4 elements wrong" in str(error)


def test_a_wrong_shape_is_an_error_of_ours() -> None:
    with pytest.raises(ValueError, match="planned"):
        compare(np.zeros((2, 3), np.float32), np.zeros((3, 2)), Tolerance(True))


@given(arrays.arrays(np.float64, (3, 4), elements=st.floats(-1e3, 1e3)), st.floats(0, 0.1), st.floats(0, 1))
def test_agrees_with_the_definition(difference: np.ndarray, relative: float, absolute: float) -> None:
    got = (WANT + difference).astype(np.float32)
    error = compare(got, WANT, Tolerance(False, relative=relative, absolute=absolute))
    apart = np.abs(got.astype(np.float64) - WANT)
    allowed = relative * np.abs(WANT) + absolute
    assert error.passed == bool((apart <= allowed).all())
    assert error.wrong == int((apart > allowed).sum())


def test_the_worst_is_named_by_its_axes() -> None:
    named = planned((2, 3, 4), "f32", Tolerance(False, relative=0.1), rows=(0, 1)).buffers[0]
    named = replace(named, axes=("batch", "q_heads", "head_dim"))
    want = np.full((2, 3, 4), 8.0)
    got = want.astype(np.float32)
    got[1, 2, 3] = 10
    plan = Plan("toy/none", "r.py", {}, {}, (named,), (), 1.0, 1.0, 1.0, {"out": Tolerance(False, relative=0.1)})
    (error,) = judge(plan, {"out": got}, {"out": want})
    assert str(error) == (
        "out[batch=1, q_heads=2, head_dim=3] is 10, the reference says 8: off by 2 where 0.8 is allowed, "
        "2.5x the tolerance; 1 of 6 rows (batch, q_heads) wrong"
    )


@given(st.data())
@pytest.mark.parametrize("exact", [False, True])
def test_pieces_say_what_the_whole_says(exact: bool, data: st.DataObject) -> None:
    """A large output is compared in pieces: the first of the worst elements, the counts and the rows are the same."""
    shape = data.draw(st.sampled_from([(17,), (3, 7), (2, 3, 4)]))
    some = st.sampled_from([0.0, 1.0, 1.5, 3.0, math.nan, math.inf])
    got = data.draw(arrays.arrays(np.float32, shape, elements=some))
    got.view(np.uint32)[data.draw(arrays.arrays(np.bool_, shape))] = 0xFFFFFFFF
    want = data.draw(arrays.arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0, 1.5])))
    magnitude = data.draw(arrays.arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0])))
    tolerance = Tolerance(True) if exact else Tolerance(False, 0.125, 0.25, 0.0)
    whole = compare(got, want, tolerance, magnitude)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("specforge.verify.compare.PIECE", 5)
        assert repr(compare(got, want, tolerance, magnitude)) == repr(whole)
