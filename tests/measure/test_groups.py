"""How many launch groups a graph holds: enough for a good sample, and every cold copy cold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.measure.groups import LONGEST, NODES, SAMPLE, Groups, choose_groups, groups_again
from specforge.measure.residency import Residency, plan_residency
from specforge.spec.geometry import BufferPlan, Plan

L2 = 50 << 20


def residency_of(cold: int) -> Residency:
    buffers = (BufferPlan("t", (max(cold, 1),), "u8", "in", (), "cold" if cold else "hot", ()),)
    return plan_residency(Plan("k", "", {}, {}, buffers, (), 0, 0, 0, {}), L2, 1 << 50)


@given(st.integers(0, 1 << 33), st.integers(1, 5), st.floats(1e-7, 10))
def test_cold_copies_are_always_displaced(cold: int, launches: int, seconds: float) -> None:
    residency = residency_of(cold)
    groups = choose_groups(residency, launches, seconds)
    assert 1 <= groups.count <= NODES // launches
    assert groups.displaces(residency)
    assert groups.count * seconds <= max(LONGEST, seconds, SAMPLE + seconds)
    assert not (groups.scrub and not cold)
    assert groups_again(groups.count, residency) == groups


@pytest.mark.parametrize(
    ("cold", "launches", "seconds", "count", "scrub"),
    [
        (0, 1, 1e-6, 1000, False),
        (0, 1, 3e-3, 2, False),
        (0, 1, 15e-3, 1, False),
        (10 << 20, 1, 10e-6, 100, False),  # 20 copies, five times each
        (10 << 20, 1, 30e-6, 40, False),
        (10 << 20, 1, 2e-3, 2, True),  # 20 copies would last 40 ms
        (256, 1, 2e-6, 500, True),
        (L2, 1, 20e-6, 52, False),
        (1 << 20, 6, 2e-6, 170, True),  # 200 copies of 6 launches are too many for one graph
    ],
)
def test_choices(cold: int, launches: int, seconds: float, count: int, scrub: bool) -> None:
    found = choose_groups(residency_of(cold), launches, seconds)
    assert (found.count, found.scrub) == (count, scrub)


def test_other_room_for_copies_has_groups_chosen_anew() -> None:
    one, two = (Residency({}, many, cold_bytes=4 * L2, scrub_bytes=0, total=4 * L2) for many in (1, 2))
    assert groups_again(3, one) == Groups(3, False)
    assert groups_again(3, two) is None  # a scrub would come behind a copy's second use
