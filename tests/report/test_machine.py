from __future__ import annotations

from specforge.record.store import read_record
from specforge.report.machine import render


def test_json_is_the_record_itself(samples, tmp_path):
    record = samples.every_verdict()
    path = tmp_path / "record.json"
    path.write_text(render(record), encoding="utf-8")
    assert read_record(path) == record
