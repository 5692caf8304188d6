from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specforge.record.measured import MeasurementEntry
from specforge.record.model import CaseEntry
from specforge.record.rounds import modes_of, rounds_of
from specforge.record.store import read_record

PUBLISHED = Path(__file__).parents[2] / "results/h100_sxm/qwen35_h100/2026-11-21-6c6212b1506d.json"


@pytest.fixture(scope="module")
def cases() -> list[CaseEntry]:
    return read_record(PUBLISHED).cases


def process(**series: list[dict[str, Any]]) -> dict[str, Any]:
    stop = {"reason": "precision", "precision": 0.003, "asked": 0.01}
    return {
        "card": "cuda:0 Test",
        "uuid": "GPU-test",
        "binary_sha256": "ab" * 32,
        "cold": "proven",
        "copies": {},
        "cold_bytes": 0,
        "rotated_bytes": 0,
        "launches": {},
        "energy": None,
        "telemetry": None,
        "refusal": None,
        "notes": [],
        "seconds": 1.0,
        "series": {
            mode: {"groups": 1, "warmup": 9, "stop": stop, "batches": batches} for mode, batches in series.items()
        },
    }


def batch(*samples: float, discarded: str | None = None) -> dict[str, Any]:
    return {"samples": list(samples), "telemetry": {}, "discarded": discarded}


def test_version_1(cases: list[CaseEntry]) -> None:
    timed = [case for case in cases if case.measurement is not None]
    assert len(timed) == 16
    for case in timed:
        assert modes_of(case) == ["isolated"]
        (samples,) = rounds_of(case, "isolated")
        assert len(samples) >= 50
        assert rounds_of(case, "amortised") == []
    assert all(modes_of(case) == [] for case in cases if case.measurement is None)


def test_version_2(cases: list[CaseEntry]) -> None:
    rounds = [
        process(isolated=[batch(1.0, 2.0), batch(9.0, discarded="hot"), batch(3.0)]),
        process(isolated=[batch(4.0)], amortised=[batch(5.0)]),
        process(overlapped=[batch(9.0, discarded="hot")]),
        process(),
    ]
    measurement = MeasurementEntry.model_validate({"rounds": rounds, "estimates": {}})
    case = cases[0].model_copy(update={"measurement": measurement})
    assert modes_of(case) == ["isolated", "amortised"]
    assert rounds_of(case, "isolated") == [[1.0, 2.0, 3.0], [4.0]]
    assert rounds_of(case, "amortised") == [[5.0]]
    assert rounds_of(case, "overlapped") == []
