"""Every verdict and every exit status through whole commands, and which status wins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from specforge.record.model import MetricEntry, Record
from specforge.record.store import read_record, seal, write_record

BASE = """\
specforge: 1
spec: demo
device: devices/rtx4090.yaml
benchmarks:
  silu:
    kernel: activation/silu
    bind: {dtype: bf16, columns: 256}
    matrix: {rows: [1, 2]}
    targets:
"""
MET = "      - {metric: spill_bytes, equals: 0}\n"
MISSED = "      - {metric: registers, at_most: 4}\n"
UNMEASURED = '      - {metric: latency, at_most: "5 us"}\n'
KNOWN = "      - {metric: registers, at_most: 4, known_miss: {reason: demo, until: 2999-01-01}}\n"
LAPSED = "      - {metric: registers, at_most: 4, known_miss: {reason: demo, until: 2020-01-01}}\n"
UNEXPECTED = "      - {metric: registers, at_most: 128, known_miss: {reason: demo, until: 2999-01-01}}\n"
WARN = "      - {metric: registers, at_most: 4, level: warn}\n"
FEW = ("--examples", "20")


@pytest.fixture
def demo(home: Path, readme_files: dict[str, str]) -> Callable[[str], Path]:
    """Write the README's kernel and a spec with these targets."""
    for name, text in readme_files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)

    def write(targets: str) -> Path:
        path = home / "specs" / "demo.yaml"
        path.write_text(BASE + targets)
        return path

    return write


def plant(right: str, wrong: str) -> None:
    template = Path("kernels/activation/silu/kernel.cu.j2")
    text = template.read_text()
    assert text.count(right) == 1
    template.write_text(text.replace(right, wrong))


def verdicts(text: str) -> set[str]:
    return {judgement["verdict"] for judgement in json.loads(text)["judgements"]}


@pytest.mark.parametrize(
    ("targets", "until", "status", "expected"),
    [
        (MET, "verify", 0, {"met"}),
        (MET + MISSED, "verify", 1, {"met", "missed"}),
        (MET + UNMEASURED, "judge", 4, {"met", "unmeasured"}),
        (MET + UNMEASURED, "verify", 0, {"met", "skipped"}),
        (MET + MISSED + UNMEASURED, "judge", 1, {"met", "missed", "unmeasured"}),
        (MET + KNOWN, "verify", 0, {"met", "known_miss"}),
        (LAPSED, "verify", 1, {"missed"}),
        (UNEXPECTED, "verify", 0, {"unexpected_met"}),
        (MET + WARN, "verify", 0, {"met", "missed"}),
    ],
)
def test_verdicts_and_status(
    demo: Callable, specforge: Callable, targets: str, until: str, status: int, expected: set
) -> None:
    ended = specforge("check", str(demo(targets)), "--until", until, "--format", "json", *FEW)
    assert ended.status == status, ended.errors
    assert verdicts(ended.text) == expected


def test_a_wrong_result_wins_over_a_missed_target(demo: Callable, specforge: Callable) -> None:
    spec = demo(MET + MISSED + UNMEASURED)
    plant("value / (1.0f + expf(-value))", "value / (1.0f + expf(value))")
    ended = specforge("check", str(spec), "--format", "json", *FEW)
    assert ended.status == 3
    assert verdicts(ended.text) == {"wrong"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("if (threadIdx.x == 0) __syncthreads(); else if (threadIdx.x < 32) __syncwarp();", "deadlock"),
        ("*reinterpret_cast<volatile int*>(16) = i;", "bounds: silu"),
        ("while (*reinterpret_cast<volatile int*>(&count) >= 0) {}", "hang"),
        ("__trap();", "trap"),
    ],
)
def test_a_fault_of_the_kernel_is_an_error(
    demo: Callable, specforge: Callable, monkeypatch: pytest.MonkeyPatch, line: str, named: str
) -> None:
    monkeypatch.setattr("specforge.verify.session.time_limit", lambda case: 1.0)
    spec = demo(MET)
    plant("  if (i >= count) return;\n", f"  {line}\n  if (i >= count) return;\n")
    ended = specforge("check", str(spec), "--until", "verify", "--format", "json", *FEW)
    assert ended.status == 3, ended.errors
    assert verdicts(ended.text) == {"error"}
    assert named in json.loads(ended.text)["fuzz"][0]["failure"]


def test_tolerances_that_time_did_not_suffice_for_leave_a_kernel_undecided(
    demo: Callable, specforge: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECFORGE_JOBS", "2")  # so that they are tried beside the search, which has its examples
    monkeypatch.setattr("specforge.check.fuzzing.examine", lambda *_: False)
    ended = specforge("check", str(demo(MET)), "--until", "verify", *FEW)
    assert ended.status == 4, ended.errors
    assert "its tolerances could not be tried in time: " in " ".join(ended.text.split())


@pytest.mark.parametrize(
    ("right", "wrong", "code"),
    [
        ("expf(-value)", "exqf(-value)", "SF506"),
        ("{{ dtype | ctype }}", "{{ dtyqe | ctype }}", "SF502"),
        ("{{ dtype | ctype }}", "float", "SF503"),
        ("int count)", "float* count)", "SF504"),
        ("{{ dtype | ctype }}", "{{ dtype | ", "SF501"),
    ],
)
def test_an_invalid_template_wins_over_everything(
    demo: Callable, specforge: Callable, right: str, wrong: str, code: str
) -> None:
    spec = demo(MISSED)
    plant(right, wrong)
    ended = specforge("check", str(spec), *FEW)
    assert ended.status == 2
    assert f"error {code}" in ended.errors
    assert "kernels/activation/silu/kernel" in ended.errors
    assert "Traceback" not in ended.errors


def test_a_reference_that_fails_is_the_authors_fault(demo: Callable, specforge: Callable) -> None:
    spec = demo(MET)
    reference = Path("kernels/activation/silu/reference.py")
    reference.write_text(reference.read_text().replace("np.abs(x)", "np.abs(x) / 0"))
    ended = specforge("check", str(spec), "--until", "verify", *FEW)
    assert ended.status == 2
    assert "error SF507" in ended.errors
    assert "reference.py:" in ended.errors


def test_an_empty_selection_is_not_a_pass(demo: Callable, specforge: Callable) -> None:
    ended = specforge("check", str(demo(MET)), "--only", "siluu")
    assert ended.status == 5
    assert "did you mean 'silu'?" in ended.errors


def test_a_bad_specs_faults_are_all_reported(demo: Callable, specforge: Callable) -> None:
    ended = specforge("check", str(demo("      - {metrik: registers, at_most: 4}\n      - {metric: registers}\n")))
    assert ended.status == 2
    assert ended.errors.count("error SF") >= 3


def test_a_card_that_is_not_there(demo: Callable, specforge: Callable) -> None:
    ended = specforge("check", str(demo(MET)), "--backend", "cuda:63", "--until", "verify")
    assert ended.status == 2
    assert "SF702" in ended.errors


def test_a_single_example_is_replayed(demo: Callable, specforge: Callable) -> None:
    spec = demo(MET)
    row = "{rows: 2, columns: 5, dtype: bf16, seed: 3}"
    assert specforge("check", str(spec), "--until", "verify", "--only", "silu", "--case", row).status == 0
    plant("if (i >= count) return", "if (i >= count - 1) return")
    ended = specforge("check", str(spec), "--until", "verify", "--only", "silu", "--case", row)
    assert ended.status == 3
    assert "y[rows=1, columns=4] was never written" in ended.text
    misspelt = specforge("check", str(spec), "--until", "verify", "--case", "{row: 2, columns: 5, dtype: bf16}")
    assert misspelt.status == 2
    assert "did you mean 'rows'?" in misspelt.errors


def test_known_failures_are_replayed_first_and_forgotten_when_they_pass(demo: Callable, specforge: Callable) -> None:
    spec = demo(MET)
    plant("if (i >= count) return", "if (i > count) return")
    assert specforge("check", str(spec), "--until", "verify", *FEW).status == 3
    again = specforge("check", str(spec), "--until", "verify", *FEW)
    assert again.status == 3
    assert "1 example," in again.text
    plant("if (i > count) return", "if (i >= count) return")
    assert specforge("check", str(spec), "--until", "verify", *FEW).status == 0
    assert not list(Path(".specforge/failures").glob("*"))


@pytest.mark.parametrize("form", ["text", "md", "junit", "github", "json"])
def test_every_format_has_the_same_status(demo: Callable, specforge: Callable, form: str) -> None:
    ended = specforge("check", str(demo(MISSED)), "--until", "build", "--format", form)
    assert ended.status == 1
    assert "registers" in ended.text
    if form == "github":
        assert "::error file=specs/demo.yaml,line=10,col=9" in ended.text


def measured(path: Path, **update: object) -> Path:
    """The record as it would be had a card measured its cases: the only way to such verdicts without one."""
    record = read_record(path)
    cases = [case.model_copy(update=update) for case in record.cases]
    request = record.request.model_copy(update={"until": "judge"})
    write_record(
        seal(
            Record.model_validate(
                {**record.model_dump(), "cases": [case.model_dump() for case in cases], "request": request.model_dump()}
            )
        ),
        path,
    )
    return path


@pytest.fixture
def recorded(demo: Callable, specforge: Callable) -> Path:
    path = Path("record.json")
    ended = specforge("check", str(demo(MET + UNMEASURED)), "--until", "verify", "--record", str(path), *FEW)
    assert ended.status == 0
    return path


@pytest.mark.parametrize(
    ("latency", "update", "status", "expected"),
    [
        ((4e-6, 3.9e-6, 4.1e-6), {}, 0, {"met"}),
        ((6e-6, 5.9e-6, 6.1e-6), {}, 1, {"met", "missed"}),
        ((4.9e-6, 4.7e-6, 5.1e-6), {}, 4, {"met", "inconclusive"}),
        ((4e-6, 3.9e-6, 4.1e-6), {"verified": False}, 4, {"unmeasured"}),
        ((1e-7, 1e-7, 1e-7), {"implausible": "faster than the roofline"}, 3, {"met", "implausible"}),
        ((4e-6, 3.9e-6, 4.1e-6), {"fault": "illegal access: demo"}, 3, {"error"}),
        (None, {"trouble": "the card fell off the bus"}, 4, {"met", "error"}),
    ],
)
def test_a_stored_record_is_judged_again(
    recorded: Path,
    specforge: Callable,
    latency: tuple[float, float, float] | None,
    update: dict,
    status: int,
    expected: set,
) -> None:
    metrics = dict(read_record(recorded).cases[0].metrics)
    if latency is not None:
        value, low, high = latency
        metrics["latency"] = MetricEntry(value=value, unit="s", low=low, high=high)
    ended = specforge("judge", str(measured(recorded, metrics=metrics, **update)), "--format", "json")
    assert ended.status == status, ended.text
    assert verdicts(ended.text) == expected


def test_a_record_with_changed_inputs_is_stale(recorded: Path, specforge: Callable) -> None:
    plant("if (i >= count) return", "if (count <= i) return")
    ended = specforge("judge", str(recorded))
    assert ended.status == 2
    assert "SF603" in ended.errors
    assert "kernel.cu.j2" in ended.errors


def test_mutants_that_are_listed_leave_a_record_current(recorded: Path, specforge: Callable) -> None:
    """A changed tolerance does not, and nor do they in a record that has the file's digest alone."""
    interface = Path("kernels/activation/silu/kernel.yaml")
    text = interface.read_text()
    listed = 'equivalent_mutants:\n  - {mutant: cast-00000000, reason: "no input tells it"}\n'
    interface.write_text(text + listed)
    ended = specforge("judge", str(recorded))
    assert (ended.status, ended.errors) == (0, "")
    interface.write_text(text.replace('absolute: "3e-37"', 'absolute: "4e-37"') + listed)
    ended = specforge("judge", str(recorded))
    assert (ended.status, "SF603" in ended.errors) == (2, True)
    interface.write_text(text + listed)
    record = read_record(recorded)
    older = [entry.model_copy(update={"without_mutants_sha256": None}) for entry in record.inputs]
    write_record(seal(record.model_copy(update={"inputs": older})), recorded)
    ended = specforge("judge", str(recorded))
    assert (ended.status, "SF603" in ended.errors) == (2, True)


def test_a_record_that_was_edited_is_tampered(recorded: Path, specforge: Callable) -> None:
    recorded.write_text(recorded.read_text().replace('"status": 0', '"status": 1'))
    ended = specforge("judge", str(recorded))
    assert ended.status == 2
    assert "SF602" in ended.errors


def test_publishing_needs_committed_sources(demo: Callable, specforge: Callable) -> None:
    ended = specforge("check", str(demo(MET)), "--until", "build", "--publish")
    assert ended.status == 2
    assert "SF604" in ended.errors
    assert not Path("results").exists()


def test_one_file_does_not_hold_two_records(demo: Callable, specforge: Callable) -> None:
    spec = str(demo(MET))
    ended = specforge("check", spec, spec, "--until", "build", "--record", "both.json")
    assert ended.status == 2
    assert "SF801" in ended.errors
    assert not Path("both.json").exists()


def test_a_tolerance_that_lets_zeros_pass_makes_the_kernel_invalid(demo: Callable, specforge: Callable) -> None:
    spec = demo(MET)
    interface = Path("kernels/activation/silu/kernel.yaml")
    interface.write_text(interface.read_text().replace('absolute: "3e-37"', 'absolute: "50"'))
    ended = specforge("check", str(spec), "--until", "verify", *FEW)
    assert ended.status == 2
    assert "SF509" in ended.errors
    assert "lets this pass: all zeros" in ended.errors


def test_a_case_too_large_to_emulate_needs_examples_of_its_own_binary(demo: Callable, specforge: Callable) -> None:
    spec = demo(MET)
    interface = Path("kernels/activation/silu/kernel.yaml")
    text = interface.read_text()
    interface.write_text(text.replace('steps: "8 * rows * columns"', 'steps: "1e9 if columns == 256 else 8"'))
    few = specforge("check", str(spec), "--until", "verify", "--examples", "3", "--format", "json")
    assert few.status == 4
    assert "of its binary ran where" in json.loads(few.text)["judgements"][0]["reason"]
    enough = specforge("check", str(spec), "--until", "verify", "--examples", "60")
    assert enough.status == 0
    assert "too large to emulate" in enough.text


def test_a_row_needs_a_kernel_and_a_run_that_executes(demo: Callable, specforge: Callable) -> None:
    spec = str(demo(MET))
    assert specforge("check", spec, "--only", "silu", "--until", "build", "--case", "{rows: 1}").status == 2
    ended = specforge("check", spec, "--only", "silu", "--case", "&a {rows: *a}")
    assert ended.status == 2
    assert "error SF1" in ended.errors


def test_what_one_spec_showed_survives_the_fault_of_another(demo: Callable, specforge: Callable) -> None:
    spec = demo(MET)
    other = Path("specs/other.yaml")
    other.write_text(BASE.replace("spec: demo", "spec: other").replace("columns: 256", "columns: 255") + MET)
    folder = Path("kernels/activation/silu")
    broken = Path("kernels/activation/broken")
    broken.mkdir()
    for file in folder.iterdir():
        if file.is_file():
            (broken / file.name).write_text(file.read_text().replace("kernel: silu", "kernel: broken"))
    (broken / "kernel.cu.j2").write_text((broken / "kernel.cu.j2").read_text().replace("expf(", "exqf("))
    other.write_text(other.read_text().replace("activation/silu", "activation/broken"))
    ended = specforge("check", str(spec), str(other), "--until", "build")
    assert ended.status == 2
    assert "SF506" in ended.errors
    assert "demo on NVIDIA GeForce RTX 4090" in ended.text


def test_a_record_replaces_nothing_but_a_record(demo: Callable, specforge: Callable) -> None:
    spec = demo(MET)
    before = spec.read_text()
    ended = specforge("check", str(spec), "--until", "build", "--record", str(spec))
    assert ended.status == 2
    assert spec.read_text() == before
    for _ in range(2):
        assert specforge("check", str(spec), "--until", "build", "--record", "mine.json").status == 0


def test_several_specs_are_one_json_document(demo: Callable, specforge: Callable) -> None:
    spec = str(demo(MET))
    ended = specforge("check", spec, spec, "--until", "build", "--format", "json")
    assert [record["spec"] for record in json.loads(ended.text)] == ["demo", "demo"]


@pytest.mark.parametrize("line", ["raise SystemExit(3)", "import os", "eval('1')"])
def test_a_reference_that_leaves_is_refused(demo: Callable, specforge: Callable, line: str) -> None:
    spec = demo(MET)
    reference = Path("kernels/activation/silu/reference.py")
    reference.write_text(reference.read_text().replace("    small =", f"    {line}\n    small ="))
    ended = specforge("check", str(spec), "--until", "verify", *FEW)
    assert ended.status == 2
    assert "SF505" in ended.errors or "SF507" in ended.errors
