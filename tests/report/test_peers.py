"""Cases beside other implementations, as a report shows them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from specforge.record.model import MetricEntry, PeerEntry
from specforge.report.peers import HEADS, absences, allowances, peer_rows, versions

LOOSE = "rounds softmax weights to 16 bits"


def entry(*times: float, absent: str | None = None, tolerance: float = 1.0) -> PeerEntry:
    modes = ("isolated", "amortised")
    return PeerEntry(
        versions={"torch": "2.11.0"},
        tolerance_times=tolerance,
        reason=LOOSE if tolerance != 1 else None,
        absent=absent,
        worst_ratio=0.5,
        times={mode: MetricEntry(value=time, unit="s") for mode, time in zip(modes, times, strict=False)},
        rounds=[],
    )


@pytest.fixture
def record() -> SimpleNamespace:
    ratio = MetricEntry(value=1.5, unit="1", low=1.48, high=1.52)
    first = SimpleNamespace(
        id="a[n=1]",
        peers={"flash": entry(12e-6, 11e-6, tolerance=64), "cudnn": entry(absent="it is wrong, by 3 times")},
        metrics={"speedup[flash]": ratio, "latency": ratio},
    )
    second = SimpleNamespace(
        id="a[n=2]", peers={"flash": entry(20e-6), "cudnn": entry(absent="it is wrong, by 3 times")}, metrics={}
    )
    return SimpleNamespace(cases=[first, second, SimpleNamespace(id="b", peers={}, metrics={})])


def test_a_row_for_each_case_and_peer(record):
    rows = peer_rows(record)
    assert rows == [
        ("a[n=1]", "flash", "12 us", "11 us", "1.5 (1.48 to 1.52)", "-"),
        ("a[n=2]", "flash", "20 us", "-", "-", "-"),
    ]
    assert all(len(row) == len(HEADS) for row in rows)


def test_the_absent_are_named_once_for_each_reason(record):
    assert absences(record) == ["cudnn is absent in 2 cases, a[n=1] the first: it is wrong, by 3 times"]


def test_what_they_were_allowed_and_where_they_came_from(record):
    assert allowances(record) == [f"flash may err by 64 times the kernel's tolerance: {LOOSE}"]
    assert versions(record) == "torch 2.11.0"
