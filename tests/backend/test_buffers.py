from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.backend.buffers import ALIGNMENT, GUARD, GUARD_BYTE, find_change, find_damage, lay_out
from specforge.spec.geometry import BufferPlan, Plan

ROLES = st.sampled_from(["in", "out", "scratch"])
SHAPES = st.lists(st.integers(1, 9), max_size=3)
DTYPES = st.sampled_from(["f32", "bf16", "i8", "i64"])


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    buffers = tuple(
        BufferPlan(f"t{number}", tuple(draw(SHAPES)), draw(DTYPES), role, (), "hot", ())
        for number, role in enumerate(draw(st.lists(ROLES, min_size=1, max_size=5)))
    )
    return Plan("k", "", {}, {}, buffers, (), 0, 0, 0, {})


@given(plans(), st.sampled_from(range(0, ALIGNMENT, 16)), st.integers(1, 5), st.integers(0, 5000))
def test_layouts_are_guarded_aligned_and_disjoint(plan: Plan, offset: int, copies: int, spare: int) -> None:
    layout = lay_out(plan, offset=offset, copies={"t0": copies}, spare=spare)
    taken: list[tuple[int, int]] = []
    for buffer in plan.buffers:
        place = layout.places[buffer.name]
        assert place.copies == (copies if buffer.name == "t0" else 1)
        for copy in range(place.copies):
            start = place.address(copy)
            assert start % ALIGNMENT == (0 if buffer.role == "scratch" else offset)
            assert place.address(copy + place.copies) == start
            taken.append((start, start + buffer.nbytes))
        assert min(place.lead, place.trail) >= GUARD >= 256
    taken.sort()
    assert taken[0][0] >= GUARD
    for (_, end), (start, _) in pairwise(taken):
        assert start - end >= 2 * GUARD
    assert taken[-1][1] + GUARD <= layout.spare == layout.nbytes - spare


@given(st.integers(0, 1023), st.integers(0, 1023), st.integers(0, 254))
def test_every_overwritten_byte_is_seen(before: int, after: int, value: int) -> None:
    zones = [np.full(1024, GUARD_BYTE, np.uint8) for _ in range(2)]
    assert find_damage("t", *zones) == []
    zones[0][before] = zones[1][after] = value if value != GUARD_BYTE else 255
    ahead, behind = find_damage("t", *zones)
    assert ahead == f"t: 1 bytes overwritten before its start, {1024 - before} to {1024 - before} bytes ahead of it"
    assert behind == f"t: 1 bytes overwritten past its end, from byte {after} to byte {after} behind it"


@pytest.mark.parametrize("index", [(0, 0), (2, 3), (4, 6)])
def test_a_changed_input_is_located(index: tuple[int, int]) -> None:
    buffer = BufferPlan("x", (5, 7), "f32", "in", (), "hot", ())
    given_values = np.arange(35, dtype=np.float32).reshape(5, 7)
    found = given_values.copy()
    as_bytes = [array.reshape(-1).view(np.uint8) for array in (given_values, found)]
    assert find_change(buffer, *as_bytes) == []
    found[index] = -1.5
    (sentence,) = find_change(buffer, *as_bytes)
    assert sentence.startswith("x: input changed in ")
    assert sentence.endswith(f"first at {list(index)}: {given_values[index]} became -1.5")


def test_a_nan_that_stays_is_no_change() -> None:
    buffer = BufferPlan("x", (2,), "f32", "in", (), "hot", ())
    values = np.array([np.nan, 1], np.float32).view(np.uint8)
    assert find_change(buffer, values, values.copy()) == []
