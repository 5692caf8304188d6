"""`specforge bounds`: target lines from a record, as whole commands on committed records, and put to use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from specforge.cli import main
from specforge.record.measured import EstimateEntry
from specforge.record.model import MetricEntry, Record
from specforge.record.store import read_record, seal, write_record
from specforge.spec.load import load_spec
from specforge.spec.metrics import METRICS
from specforge.units import ROUNDED, UNITS, parse_quantity, round_outward
from tests.report.flawed import FLAWED

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
FIVE = RESULTS / "h100_sxm/qwen35_h100/2026-11-22-637acee50187.json"
ONE = RESULTS / "h100_sxm/qwen35_h100/2026-11-21-6c6212b1506d.json"
EMULATED = RESULTS / "rtx5090/qwen35_rtx5090/2026-11-22-c70834faf417.json"
SPEC = """\
specforge: 1
spec: qwen35_h100
device: devices/h100_sxm.yaml
benchmarks:
  router_topk:
    kernel: moe/router_topk
    bind: {experts: 256, top_k: 8, renormalise: true, dtype: f32}
    matrix: {tokens: [1, 8, 64]}
"""
STANDING = """\
targets:
  router_topk:
    - {metric: amortised_latency, at_most: "2.08 us", when: "tokens == 1"}
    - {metric: amortised_latency, at_most: "2.5 us", when: "tokens >= 8"}
    - {metric: amortised_latency, at_most: "2.1 us", when: "tokens == 64"}
    - {metric: amortised_latency, at_most: "1 us", known_miss: {reason: a goal, until: 2999-01-01}}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The spec of the H100's records, with one of its benchmarks, in a folder of its own, which is the working one."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "kernels").symlink_to(ROOT / "kernels")
    path = tmp_path / "specs" / "qwen35_h100.yaml"
    path.write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def altered(tmp_path: Path) -> Callable[..., str]:
    """Write the record of the spec anew, its cases or what it says of the environment changed; gives its path."""

    def write(change: Callable[[Any], dict[str, Any]] | None = None, **environment: object) -> str:
        record = read_record(FIVE)
        kept = [case for case in record.cases if case.benchmark == "router_topk"]
        kept = [case.model_copy(update={"measurement": without_samples(case)}) for case in kept]
        cases = [case.model_copy(update=change(case) if change else {}) for case in kept]
        whole = record.model_copy(
            update={"digest": "", "cases": cases, "environment": record.environment.model_copy(update=environment)}
        )
        path = tmp_path / "altered.json"
        write_record(seal(Record.model_validate(whole.model_dump())), path)
        return str(path)

    return write


def without_samples(case: Any) -> Any:
    return case.measurement.model_copy(update={"rounds": []})


def bounds(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["bounds", *map(str, arguments)], catch_exceptions=False)


def lines(ended: Result) -> list[str]:
    assert (ended.exit_code, ended.stderr) == (0, "")
    return [line.strip() for line in ended.stdout.splitlines() if line.startswith("    - ")]


def refused(ended: Result, code: str, *said: str) -> None:
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert f"error {code}: " in ended.stderr
    flat = " ".join(ended.stderr.split())
    assert [part for part in said if part not in flat] == []


def test_a_line_for_every_case_and_time(spec: Path) -> None:
    assert lines(bounds(FIVE)) == [
        '- {metric: amortised_latency, at_most: "2.08 us", when: "tokens == 1"}   # new',
        '- {metric: amortised_latency, at_most: "2.14 us", when: "tokens == 8"}   # new',
        '- {metric: amortised_latency, at_most: "2.15 us", when: "tokens == 64"}   # new',
        '- {metric: latency, at_most: "4.78 us", when: "tokens == 1"}   # new',
        '- {metric: latency, at_most: "4.77 us", when: "tokens == 8"}   # new',
        '- {metric: latency, at_most: "4.8 us", when: "tokens == 64"}   # new',
    ]
    text = bounds(FIVE).stdout
    assert "# For `targets:` of specs/qwen35_h100.yaml." in text
    assert "# Left out: 13 cases, attention_decode[batch=1,context=2048] the first: no longer a case of " in text


def test_the_lines_load_and_hold_on_their_own_record(spec: Path) -> None:
    asked = ["amortised_latency", "latency", "bandwidth", "peak_bandwidth_share", "achievable_bandwidth_share"]
    text = bounds(FIVE, *(word for name in asked for word in ("--metric", name))).stdout
    spec.write_text(SPEC + text)
    targets = load_spec(Path("specs/qwen35_h100.yaml")).benchmark("router_topk").targets
    cases = {case.id: case for case in read_record(FIVE).cases}
    assert len(targets) == 3 * len(asked)
    for target in targets:
        (name,) = target.cases
        value = cases[name].metrics[target.metric.name]
        assert value.low is not None
        assert value.high is not None
        beside = abs(target.bound - value.value)
        room = max(0.03 * value.value, 2 * (value.high - value.low))
        assert room * (1 - 1e-9) <= beside <= room + 0.0051 * target.bound  # rounding moves it outward, and little
        assert (target.bound > value.high) == (target.comparison == "at_most")
    again = bounds(FIVE).stdout
    assert again.count("# unchanged: ") == 6
    assert "# new" not in again


def test_judge_finds_them_met(spec: Path) -> None:
    """Whole commands only; the record is of this small spec, and of today's kernel."""
    from specforge.record.provenance import input_files

    record = read_record(FIVE)
    kept = [case for case in record.cases if case.benchmark == "router_topk"]
    inputs = [entry for entry in input_files(load_spec(Path("specs/qwen35_h100.yaml"))) if entry.role != "spec"]
    whole = record.model_copy(update={"digest": "", "cases": kept, "inputs": inputs}).model_dump()
    write_record(seal(Record.model_validate(whole)), Path("own.json"))
    spec.write_text(SPEC + bounds("own.json").stdout)
    ended = CliRunner().invoke(main, ["judge", "own.json"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert "6 of 6 verdicts met" in ended.stdout
    spec.write_text(spec.read_text().replace("4.78 us", "4.1 us"))
    ended = CliRunner().invoke(main, ["judge", "own.json"], catch_exceptions=False)
    assert ended.exit_code == 1, ended.output  # the test above can fail
    assert "1 verdict missed" in ended.stdout


def test_it_says_how_a_line_compares_with_what_stands(spec: Path) -> None:
    spec.write_text(SPEC + STANDING)
    assert [line.partition("# ")[2] for line in lines(bounds(FIVE, "--metric", "amortised_latency"))] == [
        "unchanged: 2.08 us at qwen35_h100.yaml:11",
        "tighter than 2.5 us at qwen35_h100.yaml:12",
        "looser than 2.1 us at qwen35_h100.yaml:13",
    ]


def test_a_speedup_is_bounded_over_each_peer(spec: Path, altered: Callable[..., str]) -> None:
    ratio = MetricEntry(value=1.5, unit="1", low=1.49, high=1.51)

    def change(case: Any) -> dict[str, Any]:
        more = {"amortised_speedup[torch_topk]": ratio, "amortised_speedup[torch_sort]": ratio}
        return {"metrics": case.metrics | more}

    spec.write_text(SPEC.replace("[1, 8, 64]", "[8]"))
    found = lines(bounds(altered(change), "--metric", "amortised_speedup"))
    assert found == [
        f"- {{metric: amortised_speedup, at_least: 1.45, peer: {peer}}}   # new"
        for peer in ("torch_topk", "torch_sort")
    ]
    spec.write_text(spec.read_text() + "targets:\n  router_topk:\n    " + "\n    ".join(found) + "\n")
    assert [target.peer for target in load_spec(spec).benchmark("router_topk").targets] == ["torch_topk", "torch_sort"]


@pytest.mark.parametrize(
    ("update", "said"),
    [
        *FLAWED,
        ({"parameters": {"tokens": 1}}, "the spec means another kernel or other parameters by it today"),
        ({"metrics": {}, "missing": {"amortised_latency": "too hot"}}, "amortised_latency: too hot"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_not_good_bounds_nothing(
    spec: Path, altered: Callable[..., str], update: dict[str, Any], said: str
) -> None:
    one = altered(lambda case: update if case.id == "router_topk[tokens=8]" else {})
    ended = bounds(one)
    assert len(lines(ended)) == 4
    assert f"# Left out: router_topk[tokens=8]: {said}.\n" in ended.stdout
    refused(bounds(altered(lambda _: update)), "SF801", "no figure of this record is good for a bound", said)


def test_an_interval_as_wide_as_the_value_bounds_no_rate_from_below(spec: Path, altered: Callable[..., str]) -> None:
    wide = MetricEntry(value=1e9, unit="B/s", low=7e8, high=1.3e9)
    path = altered(lambda case: {"metrics": case.metrics | {"bandwidth": wide}})
    refused(bounds(path, "--metric", "bandwidth"), "SF801", "too wide to leave room beside it")


def test_what_one_process_measured_has_no_known_noise(spec: Path, altered: Callable[..., str]) -> None:
    refused(bounds(ONE, "--metric", "latency"), "SF801", "one process measured latency", "timing: {processes: 5}")

    def single(case: Any) -> dict[str, Any]:
        alone = EstimateEntry(value=2e-6, low=1.9e-6, high=2.1e-6, within=1e-7, between=None, processes=1)
        return {"measurement": case.measurement.model_copy(update={"estimates": {"amortised": alone}})}

    refused(bounds(altered(single), "--metric", "amortised_latency"), "SF801", "one process measured amortised_latency")


def test_another_card_or_none_is_refused(spec: Path, altered: Callable[..., str]) -> None:
    refused(bounds(EMULATED), "SF801", "it ran on emulator, not on its spec's card", "specforge check specs/")
    refused(bounds(altered(device_matches=False)), "SF801", "not on its spec's card", "NVIDIA H100 SXM")


def test_the_specs_folder_is_the_working_one(spec: Path) -> None:
    spec.unlink()
    refused(bounds(FIVE), "SF603", "specs/qwen35_h100.yaml is not here", "from the folder that the record was made in")


def test_files_that_are_no_record(spec: Path) -> None:
    refused(bounds("none.json"), "SF601", "cannot read none.json")
    refused(bounds(spec), "SF601", "a record is a JSON file that specforge wrote")
    shutil.copy(FIVE, "edited.json")
    Path("edited.json").write_text(FIVE.read_text().replace('"status": 0', '"status": 1'))
    refused(bounds("edited.json"), "SF602", "it was changed")


@pytest.mark.parametrize(
    ("metric", "code", "said"),
    [
        ("amortised_latncy", "SF402", "did you mean 'amortised_latency'?"),
        ("registers", "SF410", "registers is not measured"),
        ("energy", "SF801", "energy: no target asks for energy"),
        ("amortised_speedup", "SF801", "no target names a peer"),
    ],
)
def test_metrics_that_are_none_here(spec: Path, metric: str, code: str, said: str) -> None:
    refused(bounds(FIVE, "--metric", metric), code, said)


def test_changed_inputs_are_named(tmp_path: Path, spec: Path) -> None:
    (tmp_path / "kernels").unlink()
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    header = tmp_path / "kernels" / "include" / "warp.cuh"
    header.write_text(header.read_text() + "// more\n")
    (said,) = [line for line in bounds(FIVE).stdout.splitlines() if line.startswith("# Changed since")]
    assert "kernels/include/warp.cuh" in said
    assert "specs/qwen35_h100.yaml" not in said  # its cases are compared one by one


def test_usage() -> None:
    ended = bounds()
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "Missing argument 'RECORD'" in ended.stderr


@pytest.mark.parametrize(
    ("bound", "unit", "upward", "text"),
    [
        (7.785e-6, "s", True, "7.8 us"),
        (12.16e-6, "s", True, "12.2 us"),
        (100.2e-6, "s", True, "100.2 us"),
        (186.9e-6, "s", True, "187 us"),
        (0.999951e-6, "s", True, "1 us"),
        (999.96e-9, "s", True, "1 us"),
        (2e-6, "s", True, "2 us"),
        (0.9271, "%", False, "92.7 %"),
        (2.9567e12, "B/s", False, "2.95 TB/s"),
        (1.455, "1", False, "1.45"),
        (40.49, "tok/J", False, "40.4 tok/J"),
    ],
)
def test_few_digits_outward(bound: float, unit: str, upward: bool, text: str) -> None:
    assert round_outward(bound, unit, upward=upward) == text


@given(
    bound=st.floats(1e-12, 1e15),
    unit=st.sampled_from(sorted({metric.unit for metric in METRICS.values() if metric.mode})),
    upward=st.booleans(),
)
def test_a_rounded_bound_reads_back_and_never_cuts_the_room(bound: float, unit: str, upward: bool) -> None:
    text = round_outward(bound, unit, upward=upward)
    assert unit == "1" or unit in UNITS
    read = float(text) if unit == "1" else parse_quantity(text, unit)
    assert abs(read - bound) <= ROUNDED * bound * (1 + 1e-9)
    assert read >= bound * (1 - 1e-11) if upward else read <= bound * (1 + 1e-11)
