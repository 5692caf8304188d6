"""The measuring engine on a card: its floors, its series by mode and by launch, its chains. `-s` prints figures."""

from __future__ import annotations

import pytest

from specforge.backend.worker import Worker
from specforge.measure.floors import Floors
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan
from tests.gpu.engine.measuring import measured
from tests.gpu.engine.plans import CLOSE, NORMAL, link_plan, spin_plan

pytestmark = pytest.mark.gpu


def test_floors(floors: Floors) -> None:
    print(f"\nevents {floors.event_overhead * 1e6:.3f} us; null kernel:", end="")
    print({mode: f"{seconds * 1e6:.3f} us" for mode, seconds in floors.null.items()})
    assert 0.2e-6 < floors.event_overhead < floors.null["isolated"] + 1e-6
    assert 1.5e-6 < floors.null["isolated"] < 6e-6
    assert 0.4e-6 < floors.null["amortised"] < 2e-6
    if "overlapped" in floors.null:
        assert floors.null["overlapped"] < floors.null["amortised"]


@pytest.mark.parametrize("ns", [5_000, 50_000, 1_000_000])
def test_a_kernel_that_spins(worker: Worker, binary: str, references: dict[str, str], floors: Floors, ns: int) -> None:
    seen = measured(worker, spin_plan(ns, references), binary, ("isolated", "amortised"))
    assert seen.verified
    assert seen.cold == "hot"
    for mode, series in seen.series.items():
        took = series.median.value - floors.null[mode]
        assert abs(took - ns * 1e-9) <= max(0.01 * ns * 1e-9, 1e-6), (mode, took)


def test_overlapping_links(worker: Worker, binary: str, references: dict[str, str]) -> None:
    seen = measured(worker, link_plan("link_waits", references), binary)
    assert seen.verified
    medians = {mode: series.median.value for mode, series in seen.series.items()}
    assert medians["overlapped"] < medians["amortised"] < medians["isolated"]
    small = measured(worker, link_plan("link_waits", references, rows=8), binary)
    assert small.verified
    assert small.series["overlapped"].median.value < small.series["amortised"].median.value


@pytest.mark.parametrize("entry", ["link_hurries", "link_waits_late"])
def test_a_link_that_does_not_wait_is_found(
    worker: Worker, binary: str, references: dict[str, str], entry: str
) -> None:
    seen = measured(worker, link_plan(entry, references), binary)
    assert seen.before is not None
    assert seen.before.passed
    assert seen.after is not None
    assert seen.after.kind == "wrong"
    assert "grid_wait()" in (seen.after.failure or "")
    assert "overlapped" not in seen.series
    assert not seen.verified


def test_launches_one_by_one(worker: Worker, binary: str, references: dict[str, str]) -> None:
    n = 1 << 18
    buffers = (
        BufferPlan("x", (n,), "f32", "in", NORMAL, "cold", ()),
        BufferPlan("y", (n,), "f32", "in", NORMAL, "hot", ()),
        BufferPlan("partial", (n,), "f32", "scratch", NORMAL, "hot", ()),
        BufferPlan("out", (n,), "f32", "out", NORMAL, "hot", ()),
    )
    size = ((256, 1, 1), (256, 1, 1), 0)
    first = LaunchPlan("scale", *size, ("x", "partial", n))
    second = LaunchPlan("add", *size, ("partial", "y", "out", n), dependent=True)
    plan = Plan("test/two", references["two"], {}, {}, buffers, (first, second), 12.0 * n, 2.0 * n, 1, CLOSE)
    seen = measured(worker, plan, binary, ("isolated", "amortised"), energy=0.5)
    assert seen.verified
    assert list(seen.launches) == ["scale", "add"]
    whole = seen.series["isolated"].median.value
    parts = [series.median.value for series in seen.launches.values()]
    assert max(parts) < whole < sum(parts) + 1e-6
    print(f"  whole {whole * 1e6:.2f} us, parts {sum(parts) * 1e6:.2f} us")
