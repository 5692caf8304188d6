"""The comparison with an earlier record, on copies of a published one with one thing changed in each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from specforge.check import run
from specforge.check.against import compare_records, compared, read_baseline, status_with
from specforge.check.options import Options
from specforge.cli import main
from specforge.diagnostics import SpecForgeError
from specforge.judge.verdict import Status
from specforge.record.measured import MeasurementEntry, SessionEntry
from specforge.record.model import AgainstEntry, CaseEntry, Record
from specforge.record.rounds import modes_of, rounds_of
from specforge.record.store import read_record, seal, write_record
from specforge.report import github, junit, markdown, text
from specforge.settings import read_settings
from specforge.spec.load import load_spec

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "results" / "h100_sxm" / "qwen35_h100" / "2026-11-21-6c6212b1506d.json"
SPEC = ROOT / "specs" / "qwen35_h100.yaml"
OPTIONS = Options(against=PUBLISHED)


@pytest.fixture(scope="module")
def published() -> Record:
    return read_record(PUBLISHED)


def measured(
    seconds: float, *, spread: float = 0.001, seed: int = 0, asked: float = 0.01, modes: tuple[str, ...] = ("isolated",)
) -> MeasurementEntry:
    """What three processes leave behind."""
    chance = random.Random(seed)

    def series() -> dict[str, Any]:
        centre = seconds * (1 + spread * chance.gauss(0, 1))
        batches = [
            {"samples": [centre * (1 + 0.005 * chance.gauss(0, 1)) for _ in range(20)], "telemetry": {}}
            for _ in range(5)
        ]
        throttled = {"samples": [9 * centre] * 20, "telemetry": {}, "discarded": "sw_thermal"}
        stop = {"reason": "precision", "precision": 0.003, "asked": asked}
        return {"groups": 1, "warmup": 9, "batches": [*batches, throttled], "stop": stop}

    process = {
        "card": "cuda:0 Test",
        "uuid": "GPU-test",
        "binary_sha256": "ab" * 32,
        "cold": "proven",
        "copies": {},
        "cold_bytes": 1 << 20,
        "rotated_bytes": 0,
        "launches": {},
        "energy": None,
        "telemetry": None,
        "refusal": None,
        "notes": [],
        "seconds": 1.0,
    }
    rounds = [{**process, "series": {mode: series() for mode in modes}} for _ in range(3)]
    return MeasurementEntry.model_validate({"rounds": rounds, "estimates": {}})


def with_cases(record: Record, change: Callable[[CaseEntry, int], dict[str, Any]]) -> Record:
    """A record of its first three timed cases, each with something changed."""
    timed = [case for case in record.cases if modes_of(case)][:3]
    cases = [case.model_copy(update=change(case, number)) for number, case in enumerate(timed)]
    return record.model_copy(update={"cases": cases})


def timed(record: Record, *times: float, **kwargs: Any) -> Record:
    seed = kwargs.pop("seed", 0)
    return with_cases(record, lambda _, number: {"measurement": measured(times[number], seed=seed + number, **kwargs)})


def against(before: Record, after: Record, tolerance: float = 0.01) -> AgainstEntry:
    return compare_records(before, after, tolerance, PUBLISHED)


def refusals(before: Record, after: Record) -> list[str]:
    with pytest.raises(SpecForgeError) as raised:
        against(before, after)
    assert {diagnostic.code for diagnostic in raised.value.diagnostics} == {"SF608"}
    return [diagnostic.message for diagnostic in raised.value.diagnostics]


def on_card(record: Record, **facts: object) -> Record:
    card = {**(record.environment.card or {}), **facts}
    return record.model_copy(update={"environment": record.environment.model_copy(update={"card": card})})


def test_each_cell_gets_its_verdict(published: Record) -> None:
    before = timed(published, 1e-5, 1e-5, 1e-5)
    found = against(before, timed(published, 1.02e-5, 0.97e-5, 1.001e-5, seed=50))
    assert [cell.verdict for cell in found.cells] == ["slower", "faster", "same"]
    assert found.cells[0].ratio == pytest.approx(1.02, abs=0.005)
    assert found.cells[0].low < 1.02 < found.cells[0].high
    assert found.cells[0].processes == [3, 3]
    assert found.warnings == []
    assert status_with(Status.MET, found) is Status.MISSED
    assert status_with(Status.WRONG, found) is Status.WRONG


def test_nothing_slower_changes_no_status(published: Record) -> None:
    before = timed(published, 1e-5, 1e-5, 1e-5)
    found = against(before, timed(published, 0.9e-5, 1e-5, 1.02e-5, spread=0.01, seed=9))
    assert "slower" not in {cell.verdict for cell in found.cells}
    assert "undecided" in {cell.verdict for cell in found.cells}
    for status in Status:
        assert status_with(status, found) is status
        assert status_with(status, None) is status


def test_every_mode_that_both_have_is_compared(published: Record) -> None:
    both = ("isolated", "amortised")
    before = timed(published, 1e-5, 1e-5, 1e-5, modes=both)
    assert [cell.mode for cell in against(before, timed(published, 1e-5, 1e-5, 1e-5)).cells] == ["isolated"] * 3
    after = timed(published, 1e-5, 1e-5, 1e-5, modes=(*both, "overlapped"))
    assert [cell.mode for cell in against(before, after).cells] == [*both] * 3


def test_a_record_of_version_1_is_the_old_side(published: Record) -> None:
    seconds = [sorted(rounds_of(case, "isolated")[0]) for case in published.cases if modes_of(case)][:3]
    times = [samples[len(samples) // 2] for samples in seconds]
    cold = {case.id: case.measurement.rounds[0] for case in published.cases if case.measurement is not None}
    after = timed(published, *times).model_copy(update={"session": session("as found")})
    alike = []
    for case in after.cases:
        assert case.measurement is not None
        figures = {key: getattr(cold[case.id], key) for key in ("cold", "cold_bytes")}
        rounds = [one.model_copy(update=figures) for one in case.measurement.rounds]
        alike.append(case.model_copy(update={"measurement": case.measurement.model_copy(update={"rounds": rounds})}))
    after = after.model_copy(update={"cases": alike})
    found = against(published, after)
    assert [cell.processes for cell in found.cells] == [[1, 3]] * 3
    assert any("older version of the engine" in warning for warning in found.warnings)


def test_a_record_against_itself(published: Record) -> None:
    found = against(published, published)
    assert len(found.cells) == 16
    assert {cell.ratio for cell in found.cells} == {1.0}
    assert {cell.verdict for cell in found.cells} == {"undecided"}  # one process says little
    assert any("one process on either side" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("name", "NVIDIA H200", "another card: NVIDIA H100 80GB HBM3, now NVIDIA H200"),
        ("mig", True, "another MIG: False, now True"),
        ("ecc", False, "another ECC: True, now False"),
        ("power_limit", 350.0, "another power limit: 700.0, now 350.0"),
    ],
)
def test_another_card_is_refused(published: Record, key: str, value: object, said: str) -> None:
    (message,) = refusals(published, on_card(published, **{key: value}))
    assert message == f"{PUBLISHED} may not be compared with: {said}"


def test_another_seed_is_refused(published: Record) -> None:
    request = published.request.model_copy(update={"seed": 7})
    (message,) = refusals(published, published.model_copy(update={"request": request}))
    assert message.endswith("inputs drawn with another seed: 0, now 7")


def test_no_card_is_refused(published: Record) -> None:
    environment = published.environment.model_copy(update={"card": None})
    emulated = published.model_copy(update={"environment": environment})
    assert refusals(emulated, published)[0].endswith("the earlier record took no times on a card")
    assert refusals(published, emulated)[0].endswith("this run took no times on a card")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": {"batch": 99}}, "other parameters under the same name"),
        ({"kernel": "attention/other"}, "another kernel: attention/flash_decode, now attention/other"),
        ({"verified": False}, "its result is not verified now"),
        ({"wrong": "out[3] is 5"}, "its result is not verified now"),
        ({"measurement": None}, "it was not timed now"),
    ],
)
def test_a_case_that_may_not_be_compared_is_left_out(published: Record, change: dict[str, Any], said: str) -> None:
    before = timed(published, 1e-5, 1e-5, 1e-5)
    after = with_cases(before, lambda _, number: change if number == 0 else {})
    found = against(before, after)
    assert found.left_out == {before.cases[0].id: said}
    assert {cell.case for cell in found.cells} == {case.id for case in before.cases[1:]}
    nothing = with_cases(before, lambda _case, _number: change)
    assert len(refusals(before, nothing)) == 3


@pytest.mark.parametrize("change", [{"cold_bytes": 5}, {"cold": "unproven"}])
def test_another_residency_is_left_out(published: Record, change: dict[str, Any]) -> None:
    before = timed(published, 1e-5, 1e-5, 1e-5)
    measurement = before.cases[0].measurement
    assert measurement is not None
    other = measurement.model_copy(update={"rounds": [one.model_copy(update=change) for one in measurement.rounds]})
    after = with_cases(before, lambda _, number: {"measurement": other} if number == 0 else {})
    assert (
        against(before, after).left_out[before.cases[0].id].startswith("another residency: 1048576 bytes cold (proven)")
    )


def session(clocks: str) -> SessionEntry:
    return SessionEntry(
        event_overhead=None,
        null_kernel={},
        rates={},
        calibration=[],
        missing={},
        clocks=clocks,
        telemetry_missing={},
        foreign_processes=[],
        notes=[],
    )


def test_another_clocks_policy_is_refused(published: Record) -> None:
    locked = published.model_copy(update={"session": session("locked to 1410 MHz (verified)")})
    (message,) = refusals(published, locked)
    assert message.endswith("another clocks policy: as found, now locked to 1410 MHz (verified)")
    assert against(published, published.model_copy(update={"session": session("as found")})).cells
    assert against(locked, locked).cells


def test_a_new_case_is_no_failure(published: Record) -> None:
    before = timed(published, 1e-5, 1e-5, 1e-5)
    found = against(before.model_copy(update={"cases": before.cases[1:]}), before)
    assert found.left_out == {before.cases[0].id: "the earlier record does not have it"}
    other = before.model_copy(update={"cases": []})
    assert refusals(other, before)[0].endswith("the earlier record does not have it")


def test_warnings(published: Record) -> None:
    before, after = timed(published, 1e-5, 1e-5, 1e-5), timed(published, 1e-5, 1e-5, 1e-5, asked=0.05)
    after = on_card(after, uuid="GPU-other", driver="999.1")
    changed = [
        entry.model_copy(update={"sha256": "0" * 64}) if entry.role == "kernel" else entry for entry in after.inputs
    ]
    warnings = against(before, after.model_copy(update={"inputs": changed})).warnings
    said = (
        "another card of the same model",
        "another driver: 580.159.04, now 999.1",
        "kernel.yaml",
        "different precisions",
    )
    for number, words in enumerate(said):
        assert words in warnings[number]
    assert len(warnings) == len(said)


@pytest.mark.parametrize("form", [text.render, markdown.render, github.render, junit.render])
def test_reports_show_it(published: Record, form: Callable[[Record], str]) -> None:
    before = timed(published, 1e-5, 1e-5, 1e-5)
    after, problems = compared(timed(published, 1.02e-5, 1.02e-5, 1e-5, seed=50), before, OPTIONS)
    assert problems == ()
    assert after.status == Status.MISSED
    shown = form(after)
    assert "slower" in shown
    assert "+2." in shown or "+1.9" in shown
    assert seal(after.model_copy(update={"digest": ""})).digest == after.digest


def test_a_refused_comparison_leaves_the_record_alone(published: Record) -> None:
    after, problems = compared(on_card(published, name="NVIDIA H200"), published, OPTIONS)
    assert after.against is None
    assert [problem.code for problem in problems] == ["SF608"]


def test_what_is_clear_ahead_is_refused_ahead(tmp_path: Path, published: Record) -> None:
    spec = load_spec(SPEC)
    assert read_baseline([spec], Options()) is None
    for options, code in (
        (replace(OPTIONS, until="verify"), "SF801"),
        (replace(OPTIONS, case="{batch: 1}"), "SF801"),
        (replace(OPTIONS, seed=3), "SF608"),
        (replace(OPTIONS, against=tmp_path / "none.json"), "SF601"),
    ):
        with pytest.raises(SpecForgeError, match=code):
            read_baseline([spec], options)
    with pytest.raises(SpecForgeError, match="SF801"):
        read_baseline([spec, spec], OPTIONS)
    bare = tmp_path / "bare.json"
    write_record(seal(with_cases(published, lambda _case, _number: {"measurement": None})), bare)
    with pytest.raises(SpecForgeError, match="it has no times"):
        read_baseline([spec], replace(OPTIONS, against=bare))


def test_a_slow_down_ends_with_status_1(tmp_path: Path, published: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command on a record that stands for a run, as no card is needed for what comes after it."""
    before = seal(timed(published, 1e-5, 1e-5, 1e-5).model_copy(update={"digest": ""}))
    path, out = tmp_path / "before.json", tmp_path / "after.json"
    write_record(before, path)
    after = seal(timed(published, 1e-5, 1.03e-5, 1e-5, seed=50).model_copy(update={"digest": ""}))
    monkeypatch.setattr(run, "check_spec", lambda *_: after)
    options = Options(against=path, record=out)
    assert run.check_specs([SPEC], options, "text", read_settings()) == Status.MISSED
    kept = read_record(out)
    assert kept.against is not None
    assert kept.against.digest == before.digest
    assert run.check_specs([SPEC], replace(options, tolerance=0.05), "text", read_settings()) == Status.MET
    other = seal(on_card(after, name="NVIDIA H200").model_copy(update={"digest": ""}))
    monkeypatch.setattr(run, "check_spec", lambda *_: other)
    with pytest.raises(SpecForgeError, match="SF608"):
        run.check_specs([SPEC], options, "text", read_settings())
    assert read_record(out).against is None  # what was measured is kept


def test_the_command_line() -> None:
    def status(*arguments: str) -> int:
        return CliRunner().invoke(main, ["check", str(SPEC), *arguments]).exit_code

    assert status("--against", str(PUBLISHED), "--until", "build") == 2
    assert status("--against", str(ROOT / "README.md")) == 2
    assert status("--tolerance", "0") == 2
    assert status("--tolerance", "nan") == 2
