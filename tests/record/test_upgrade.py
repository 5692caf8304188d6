"""Records of version 1: read, shown and re-sealed as today's, their own files untouched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specforge.diagnostics import SpecForgeError
from specforge.record.store import digest_of, read_record, seal, to_json
from specforge.report import github, junit, machine, markdown, measured, text

V1 = Path(__file__).parents[1] / "golden" / "record" / "v1.json"


def test_what_was_measured_is_one_process_of_isolated_samples():
    old, record = json.loads(V1.read_text()), read_record(V1)
    assert (record.record_version, record.digest, record.session, record.resumed) == (2, old["digest"], None, [])
    for before, case in zip(old["cases"], record.cases, strict=True):
        was = before["measurement"]
        if was is None:
            assert case.measurement is None
            continue
        (one,) = case.measurement.rounds
        assert one.series["isolated"].samples == was["samples"]
        assert one.series["isolated"].stop.precision == was["precision"]
        assert case.measurement.estimates["isolated"].value == was["median"]
        assert (one.copies, one.rotated_bytes, one.cold) == (was["copies"], was["rotated_bytes"], "proven")
        assert one.series["isolated"].batches[0].telemetry["sm_clock"] == was["telemetry_after"]["sm_clock"]


@pytest.mark.parametrize("form", [text, markdown, measured, junit, github])
def test_every_report_shows_it(form):
    assert "qwen35_h100" in form.render(read_record(V1)) or form is measured


def test_the_table_of_figures():
    shown = measured.render(read_record(V1))
    assert shown.startswith("Isolated time of one launch group, cold, on cuda:0 NVIDIA H100 80GB HBM3; record ")
    assert "| benchmark | case | median | 95 % interval | bandwidth | of the datasheet's |" in shown


def test_sealed_again_it_is_of_todays_version():
    again = json.loads(machine.render_all([seal(read_record(V1))]))
    again = again[0] if isinstance(again, list) else again
    assert again["record_version"] == 2
    assert again["digest"] == digest_of(again)


def test_it_is_not_written_as_if_it_were_its_own_file():
    with pytest.raises(ValueError, match="not sealed"):
        to_json(read_record(V1))


@pytest.mark.parametrize("key", ["samples", "telemetry_after", "converged"])
def test_one_that_is_not_as_that_version_was(tmp_path, key):
    data = json.loads(V1.read_text())
    del data["cases"][0]["measurement"][key]
    data["digest"] = digest_of(data)
    (tmp_path / "broken.json").write_text(json.dumps(data))
    with pytest.raises(SpecForgeError, match="not a record of version 1") as error:
        read_record(tmp_path / "broken.json")
    assert error.value.diagnostics[0].code == "SF601"


def test_a_changed_one_is_tampered(tmp_path):
    data = json.loads(V1.read_text())
    data["cases"][0]["measurement"]["samples"][0] *= 0.5
    (tmp_path / "changed.json").write_text(json.dumps(data))
    with pytest.raises(SpecForgeError, match="does not match its own digest"):
        read_record(tmp_path / "changed.json")
