from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.measure.residency import (
    HEADROOM,
    LINKS,
    MOST_COPIES,
    TIMES_L2,
    DoesNotFit,
    label_cold,
    plan_residency,
)
from specforge.measure.roofline import cold_read, least_seconds
from specforge.spec.geometry import BufferPlan, Plan

L2 = 50 << 20


def plan_of(
    *tensors: tuple[int, str, str], bytes_: float = 1e12, flops: float = 0.0, chain: dict[str, str] | None = None
) -> Plan:
    buffers = tuple(
        BufferPlan(f"t{n}", (size,), "u8", role, (), residency, ())  # type: ignore[arg-type]
        for n, (size, role, residency) in enumerate(tensors)
    )
    return Plan("k", "", {}, {}, buffers, (), bytes_, flops, 0, {}, chain=chain or {})


@given(st.lists(st.tuples(st.integers(1, 1 << 31), st.sampled_from(["in", "out"])), min_size=1, max_size=4))
def test_cold_tensors_pass_four_times_the_l2(tensors: list[tuple[int, str]]) -> None:
    plan = plan_of(*((size, role, "cold") for size, role in tensors), (4096, "in", "hot"))
    found = plan_residency(plan, L2, 1 << 50)
    assert found.rotated_bytes >= TIMES_L2 * L2
    assert 2 <= found.rotations <= MOST_COPIES
    assert found.copies[f"t{len(tensors)}"] == 1
    assert {found.copies[f"t{n}"] for n in range(len(tensors))} == {found.rotations}
    assert found.cold_bytes == sum(size for size, _ in tensors)


def test_no_more_copies_than_are_due() -> None:
    assert plan_residency(plan_of((10 << 20, "in", "cold")), L2, 1 << 40).copies == {"t0": 20}
    assert plan_residency(plan_of((10 << 30, "in", "cold")), L2, 1 << 40).copies == {"t0": 2}


def test_of_a_large_tensor_only_what_is_read_displaces_anything() -> None:
    plan = plan_of((10 << 30, "in", "cold"))
    read = replace(plan, buffers=(replace(plan.buffers[0], touched=10 << 20),))
    found = plan_residency(read, L2, 1 << 40)
    assert (found.rotations, found.cold_bytes) == (20, 10 << 20)
    assert plan_residency(plan, L2, 1 << 40).rotations == 2
    assert (cold_read(read), cold_read(plan)) == (10 << 20, 10 << 30)
    with pytest.raises(DoesNotFit):  # all of it lies in memory, all the same
        plan_residency(read, L2, 1 << 30)


def test_only_hot_tensors_are_not_rotated() -> None:
    found = plan_residency(plan_of((10 << 20, "in", "hot"), (5, "out", "hot")), L2, 1 << 40)
    assert found.copies == {"t0": 1, "t1": 1}
    assert (found.rotated_bytes, found.total, found.rotations) == (0, 0, 1)


def test_one_copy_will_do_where_two_do_not_fit_and_it_is_large() -> None:
    size = 1 << 30
    assert plan_residency(plan_of((size, "in", "cold")), L2, size + TIMES_L2 * L2 + (1 << 20) + HEADROOM).copies == {
        "t0": 1
    }


def test_small_tensors_are_scrubbed() -> None:
    found = plan_residency(plan_of((256, "in", "cold")), L2, 1 << 40)
    assert found.rotations == MOST_COPIES
    assert found.scrub_bytes * MOST_COPIES + 256 * MOST_COPIES >= TIMES_L2 * L2


@pytest.mark.parametrize(("size", "residency"), [(1 << 30, "cold"), (1 << 30, "hot"), (10 << 20, "cold")])
def test_short_memory_is_refused(size: int, residency: str) -> None:
    with pytest.raises(DoesNotFit, match="GiB are needed"):
        plan_residency(plan_of((size, "in", residency)), L2, HEADROOM + (1 << 20))


def test_the_floor_counts_what_surely_comes_from_memory() -> None:
    tensors = ((1000, "in", "cold"), (500, "in", "hot"), (700, "out", "cold"))
    assert least_seconds(plan_of(*tensors), 10.0, 1.0) == 100.0
    assert least_seconds(plan_of(*tensors, bytes_=200.0), 10.0, 1.0) == 20.0  # a kernel may skip parts of an input
    assert least_seconds(plan_of(*tensors, flops=5000.0), 10.0, 25.0) == 200.0
    assert least_seconds(plan_of((9, "in", "hot")), 10.0, 1.0) == 0.0


def test_hot_links_of_a_chain_have_copies_that_stay_in_l2() -> None:
    plan = plan_of((4096, "in", "hot"), (4096, "out", "hot"), (1 << 20, "in", "cold"), chain={"t0": "t1"})
    assert plan_residency(plan, L2, 1 << 40).copies["t1"] == 1
    assert plan_residency(plan, L2, 1 << 40, linked=True).copies["t1"] == LINKS
    large = plan_of((L2, "in", "hot"), (L2, "out", "hot"), chain={"t0": "t1"})
    assert plan_residency(large, L2, 1 << 40, linked=True).copies["t1"] == 2


def test_cold_links_have_two_copies_at_least() -> None:
    size = 1 << 30
    plan = plan_of((size, "in", "cold"), (size, "out", "cold"), chain={"t0": "t1"})
    room = 2 * size + TIMES_L2 * L2 + (1 << 20) + HEADROOM
    assert plan_residency(plan, L2, room).copies == {"t0": 1, "t1": 1}
    with pytest.raises(DoesNotFit):
        plan_residency(plan, L2, room, linked=True)


def test_what_a_chain_reads_was_just_written() -> None:
    plan = plan_of((1000, "in", "cold"), (300, "in", "cold"), (1000, "out", "cold"), chain={"t0": "t2"})
    assert [cold_read(plan, mode) for mode in ("isolated", "amortised", "overlapped")] == [1300, 1300, 300]


def test_the_label() -> None:
    plan = plan_of((1000, "in", "cold"), (500, "in", "hot"))
    assert label_cold(plan, True, {"isolated": 10.0, "amortised": 1.0}, 1000.0) == ("proven", None)
    for displaced, medians, bandwidth, word in (
        (False, {"isolated": 10.0}, 1000.0, "passed between two uses"),
        (True, {"isolated": 10.0}, None, "nobody knows"),
        (True, {"isolated": 10.0, "amortised": 0.99}, 1000.0, "(amortised)"),
    ):
        label, why = label_cold(plan, displaced, medians, bandwidth)  # type: ignore[arg-type]
        assert label == "unproven"
        assert word in (why or "")
    assert label_cold(plan_of((9, "in", "hot")), False, {}, None) == ("hot", None)
