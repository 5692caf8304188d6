"""The table of figures, and the blocks of times: every mode, what the session measured, and what modes tell."""

from __future__ import annotations

from typing import Any

import pytest

from specforge.record.measured import EstimateEntry, MeasurementEntry, SessionEntry
from specforge.record.model import Record
from specforge.report import junit, markdown, measured, text


def estimate(value: float, processes: int = 3) -> EstimateEntry:
    return EstimateEntry(
        value=value, low=value * 0.99, high=value * 1.01, within=None, between=None, processes=processes
    )


@pytest.fixture
def record(samples: Any) -> Record:
    """The record with every verdict, two of its cases with times."""
    found: Record = samples.every_verdict()
    both = {"isolated": estimate(80e-6), "amortised": estimate(70e-6), "energy": estimate(2e-3)}
    told = ["its launches one by one (a 9.00 us + b 9.00 us) do not add up to the whole (10.00 us)"]
    first = MeasurementEntry(rounds=[], estimates=both, telling=told)
    second = MeasurementEntry(rounds=[], estimates={"isolated": estimate(12.5e-6)})
    cases = [
        case.model_copy(update={"measurement": {0: first, 1: second}.get(number)})
        for number, case in enumerate(found.cases)
    ]
    session = SessionEntry(
        event_overhead=4.5e-7,
        null_kernel={"isolated": 3.1e-6, "amortised": 9e-7},
        rates={"read": 2.9e12, "bf16": 7.9e14},
        calibration=[],
        missing={"fp8": "ptxas makes products of halves"},
        clocks="as found",
        telemetry_missing={},
        foreign_processes=[],
        notes=[],
    )
    return found.model_copy(update={"cases": cases, "session": session})


SAID = (
    "Two events with nothing between them read 450 ns; an empty kernel 3.1 us isolated, 900 ns amortised.",
    "The card reaches: read 2.9 TB/s, bf16 790 TFLOPS.",
    "Not known: fp8: ptxas makes products of halves.",
    "Clocks: as found.",
)


def flat(shown: str) -> str:
    return " ".join(shown.split())


def test_text_shows_every_mode_with_its_interval(record: Record) -> None:
    shown = text.render(record)
    lines = shown.splitlines()
    assert any(line.split() == ["case", "isolated", "amortised", "energy"] for line in lines)
    assert any("80 us +-1 %" in line and "70 us +-1 %" in line and "2 mJ +-1 %" in line for line in lines)
    assert any("12.5 us +-1 %" in line and line.split()[-1] == "-" for line in lines)
    for said in SAID:
        assert f"card {said}" in flat(shown)
    assert f"note {record.cases[0].id}: its launches one by one" in flat(shown)
    assert max(map(len, text.render(record, width=80).splitlines())) <= 120


def test_a_long_sweep_is_cut_and_says_so(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "SHOWN_TIMES", 1)
    assert "and 1 case more, which --format md shows" in text.render(record)


def test_markdown_shows_all(record: Record) -> None:
    shown = markdown.render(record)
    assert "| case | isolated | amortised | energy |\n|---|---|---|---|\n" in shown
    assert "12.5 us +-1 % | - | - |" in shown
    for said in SAID:
        assert f"- {said}" in shown
    assert "do not add up to the whole" in shown


def test_junit_has_the_session_as_properties(record: Record) -> None:
    assert f'<property name="card 2" value="{SAID[1]}" />' in junit.render(record)


def test_the_table_of_figures_has_a_column_for_every_mode(record: Record) -> None:
    shown = measured.render(record)
    assert "isolated (median), amortised, cold, on cuda:0 NVIDIA GeForce RTX 5090, 3 processes; record" in shown
    head = "| median | 95 % interval | amortised | 95 % interval | bandwidth | of the datasheet's | of the achievable |"
    assert head in shown
    assert "| 80 us | 79.2 us .. 80.8 us | 70 us | 69.3 us .. 70.7 us |" in shown


def test_nothing_timed_says_nothing_of_times(samples: Any) -> None:
    record = samples.undecided()
    assert "isolated" not in text.render(record)
    assert "### Times" not in markdown.render(record)
    assert measured.render(record) == f"No case of {record.spec} was timed.\n"
