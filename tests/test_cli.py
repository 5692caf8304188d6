"""The command line: what it prints, how it ends, and what it leaves unloaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import specforge
from specforge.cli import main
from specforge.cli.options import FORMATS, STAGES
from specforge.diagnostics import CODES
from specforge.judge.verdict import PRECEDENCE, Verdict
from specforge.schemas import KINDS
from specforge.spec import metrics

ROOT = Path(__file__).parents[1]
SPEC = "specs/qwen35_rtx5090.yaml"


@dataclass(frozen=True, slots=True)
class Ended:
    status: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """A command in this process, from the repository's top."""
    monkeypatch.chdir(ROOT)

    def command(*arguments: str) -> Ended:
        result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        return Ended(result.exit_code, result.stdout, result.stderr)

    return command


def process(
    *arguments: str, env: dict[str, str] | None = None, code: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-W", "error", *(["-c", code] if code else ["-m", "specforge"]), *arguments]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in main.commands)], ids=" ".join)
def test_help(run, arguments):
    ended = run(*arguments)
    assert ended.status == 0
    assert ended.out.startswith("Usage: ")
    assert ended.err == ""
    assert max(map(len, ended.out.splitlines())) <= 100


def test_every_command_says_what_it_does(run):
    text = run("--help").out
    for name, command in main.commands.items():
        assert name in text
        assert command.help
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_help_has_the_exit_statuses_in_their_order(run):
    for command in ("check", "judge"):
        text = run(command, "--help").out
        listed = [
            int(line.split()[0])
            for line in text.partition("Exit status")[2].splitlines()[1:]
            if line.strip()[:1].isdigit()
        ]
        assert listed == [int(status) for status in PRECEDENCE]


def test_stages_and_formats_are_those_of_the_registry():
    assert STAGES == metrics.STAGES
    assert FORMATS == ("text", "json", "md", "junit", "github")


def test_version(run):
    assert run("--version").out == f"specforge, version {specforge.__version__}\n"


@pytest.mark.parametrize("arguments", ['["--help"]', '["check", "--help"]', '["--version"]'])
def test_help_loads_nothing_heavy(arguments):
    code = f"""
import sys
from specforge.cli import main
try:
    main({arguments})
except SystemExit as end:
    assert end.code == 0
heavy = {{"numpy", "hypothesis", "cuda", "pydantic", "ruamel", "jinja2", "rich", "tabulate", "pynvml", "ml_dtypes"}}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    assert process(code=code).stdout.endswith("loaded: []\n")


# --- wrong command lines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chekc", SPEC], "No such command 'chekc'"),
        (["check"], "Missing argument 'SPEC...'"),
        (["check", SPEC, "--unitl", "build"], "'--until'"),
        (["check", SPEC, "--until", "rendr"], "'validate', 'render', 'build'"),
        (["check", SPEC, "--format", "xml"], "'text', 'json', 'md', 'junit', 'github'"),
        (["check", SPEC, "--seed", "-1"], "-1 is not in the range"),
        (["check", SPEC, "--examples", "0"], "0 is not in the range"),
        (["check", SPEC, "--only", "router", "--only", "argmax"], "given more than once"),
        (["check", SPEC, "--seconds", "x"], "'x' is not a valid float"),
        (["check", SPEC, "--backend", "emulatr"], "did you mean 'emulator'?"),
        (["check", SPEC, "--backend", "cuda:x"], "did you mean 'cuda:0'?"),
        (["check", SPEC, "--record", "specs"], "is a directory"),
        (["check", "specs/qwen35_rtx509.yaml"], "did you mean specs/qwen35_rtx5090.yaml?"),
        (["check", "specs"], "name a .yaml file inside it"),
        (["check", "specs/devices/rtx5090.yaml"], "specforge check takes specs"),
        (["explain"], "Missing argument"),
        (["explain", "SF99"], "nothing here is called 'SF99'"),
        (["explain", "latncy"], "did you mean 'latency'?"),
        (["explain", "a" * 500], "nothing here is called"),
        (["explain", "specs/none.yaml"], "no such file"),
        (["explain", SPEC, "decod"], "did you mean 'decode'?"),
        (["explain", SPEC, "#999"], "nothing called '#999'"),
        (["explain", SPEC, "model.nothing"], "no value is called 'model.nothing'"),
        (["explain", SPEC, "device.multiprocesors"], "did you mean 'device.multiprocessors'?"),
        (["render", SPEC], "Missing argument 'CASE'"),
        (["render", SPEC, "decode[context=2048]"], "no case 'decode[context=2048]' with a kernel"),
        (["render", SPEC, "router_topk[tokens=2]"], "did you mean 'router_topk[tokens="),
        (["judge"], "Missing argument 'RECORD'"),
        (["judge", "no/such/record.json"], "no/such/record.json"),
        (["schema"], "give a KIND to print, or --write FOLDER"),
        (["schema", "spec", "--write", "x"], "give a KIND to print, or --write FOLDER"),
        (["schema", "specs"], "'spec', 'workload'"),
        (["schema", "--write", "pyproject.toml"], "is a file"),
        (["schema", "--write", "pyproject.toml/x"], "cannot write into"),
        (["list", "specs"], "unexpected extra argument"),
        (["--nothing"], "No such option"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_wrong_command_line_ends_with_2_and_a_hint(run, arguments, said):
    ended = run(*arguments)
    assert ended.status == 2
    assert said in " ".join(ended.err.split())
    assert ended.out == ""
    assert "Traceback" not in ended.err


def test_no_arguments_at_all(run):
    ended = run()
    assert ended.status == 2
    assert "Usage: " in ended.err + ended.out


# --- list and explain -------------------------------------------------------------------------------------------------


def test_list(run):
    text = run("list").out
    for path in sorted((ROOT / "specs").glob("*.yaml")):
        assert f"specs/{path.name}  " in text
    assert "attention/flash_decode  Single-token" in text
    assert text.index("Specs:") < text.index("Kernels:")


def test_list_in_another_repository(project, run, monkeypatch):
    monkeypatch.chdir(project)
    (project / "specs" / "broken.yaml").write_text("a: [1\n")
    (project / "specs" / "mine.yaml").write_text("specforge: 1\nsummary: All mine.\n")
    (project / "kernels" / "moe" / "router_topk" / "kernel.yaml").write_text("summary: An own one.\n")
    text = run("list").out
    assert "  specs/broken.yaml  (not valid YAML: " in text
    assert "  specs/mine.yaml  All mine." in text
    assert "  moe/router_topk  An own one." in text
    assert f"  {ROOT / 'specs' / 'qwen35_h100.yaml'}  " in text, "the shipped ones come too"


@pytest.mark.parametrize("word", [*CODES, "sf203", *metrics.METRICS, *Verdict, "status"])
def test_explain_words(run, word):
    ended = run("explain", word)
    assert ended.status == 0
    assert ended.out.lower().startswith(word.lower()) or word == "status"
    assert len(ended.out) > 30


def test_explain_statuses_in_their_order(run):
    lines = run("explain", "status").out.splitlines()[1:]
    assert [int(line.split()[0]) for line in lines] == [int(status) for status in PRECEDENCE]


def test_explain_a_spec(run):
    text = run("explain", SPEC).out
    assert "device: NVIDIA GeForce RTX 5090, sm_120 (specs/devices/rtx5090.yaml)" in text
    assert "#1 spill_bytes == 0 B  [8 cases; required; specs/workloads/qwen35_decode.yaml:" in text
    assert "decode: decode step of 20 kernels; 3 cases, 3 targeted, 0 excluded" in text


def test_explain_a_benchmark(run):
    text = run("explain", SPEC, "attention_decode").out
    assert "kernel attention/flash_decode (kernels/attention/flash_decode/kernel.yaml)" in text
    assert "attention_decode[batch=4,context=131072] excluded: " in text


def test_explain_how_a_tokens_time_divides(run):
    text = run("explain", SPEC, "decode").out
    assert "20 of 20 kernels covered" in text
    for context in (2048, 32768, 262144):
        part = text.partition(f"decode[context={context}]")[2].partition("decode[")[0]
        shares = [
            float(line.split("%")[0].split()[-1]) for line in part.splitlines() if " %" in line and "whole" not in line
        ]
        assert sum(shares) == pytest.approx(100, abs=1)
        assert shares == sorted(shares, reverse=True)


def test_explain_a_step_that_moves_nothing(project, run, monkeypatch):
    monkeypatch.chdir(project)
    path = project / "specs" / "nothing.yaml"
    path.write_text(
        "specforge: 1\nspec: nothing\ndevice: devices/rtx5090.yaml\nbenchmarks:\n  token:\n    step:\n"
        '      - {part: rest, launches: "1", bytes: "0"}\n'
    )
    assert "no bytes move" in run("explain", str(path), "token").out


def test_explain_a_case(run):
    text = run("explain", SPEC, "router_topk[tokens=8]").out
    assert "tokens = 8   from specs/workloads/qwen35_decode.yaml:" in text
    assert "experts = 256   from specs/workloads/qwen35_decode.yaml:" in text
    assert "warps = " in text
    assert "in logits: f32 [8, 256], 8192 B, hot" in text
    assert "tolerance of ids: exact" in text
    assert "roofline on NVIDIA GeForce RTX 5090: " in text


def test_explain_a_target_by_number_and_by_name(run):
    one = run("explain", SPEC, "#1")
    assert one.status == 0
    assert one.out.startswith("attention_decode: spill_bytes == 0 B   from ")
    assert run("explain", SPEC, "target", "1").out == one.out
    assert run("explain", SPEC, "attention_decode: spill_bytes == 0 B").out == one.out


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("device.memory_bandwidth", ["1792 GB/s", "specs/devices/rtx5090.yaml:", "certainty A", "Architecture"]),
        ("device.bf16_rate", ["209.5 TFLOPS", "note: "]),
        ("model.attention.head_dim", ["= 256", "specs/models/qwen35_35b_a3b.yaml:", "certainty A"]),
        (
            "model.kv_bytes_per_token",
            ["20480 B", "(20480)", "specs/models/qwen35_35b_a3b.yaml:", "attention.kv_heads = "],
        ),
    ],
)
def test_explain_a_value_and_its_origin(run, name, parts):
    text = run("explain", SPEC, name).out
    assert text.startswith(f"{name} = ")
    assert [part for part in parts if part not in text] == []


def test_everything_of_the_shipped_specs_can_be_explained(run):
    from specforge.report.explain import explain_in
    from specforge.spec.load import load_spec

    kernels: set[str | None] = set()
    for path in sorted((ROOT / "specs").glob("*.yaml")):
        spec = load_spec(path)
        asked = [None, *spec.names(), *(benchmark.name for benchmark in spec.benchmarks)]
        asked += [target.id for benchmark in spec.benchmarks for target in benchmark.targets]
        for case in (case for benchmark in spec.benchmarks for case in benchmark.cases):
            kernel = case.kernel.identity if case.kernel else None
            if kernel not in kernels:  # the others differ in numbers
                kernels.add(kernel)
                asked.append(case.id)
        for what in asked:
            assert explain_in(spec, what).endswith("\n")


# --- schema -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_schema_prints_json(run, kind):
    assert json.loads(run("schema", kind).out)["title"] == f"SpecForge {kind}"


def test_schema_writes_what_changed(run, tmp_path):
    ended = run("schema", "--write", str(tmp_path))
    assert ended.status == 0
    assert ended.out.count("wrote ") == len(KINDS)
    assert run("schema", "--write", str(tmp_path)).out == ""


def test_render_prints_the_source_of_a_case(run):
    ended = run("render", SPEC, "router_topk[tokens=8]")
    assert ended.status == 0
    assert 'extern "C" __global__' in ended.out
    assert "{{" not in ended.out


# --- the process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "4096"])
def test_a_wrong_environment_is_a_clean_error(run, monkeypatch, value):
    monkeypatch.setenv("SPECFORGE_JOBS", value)
    ended = run("check", SPEC, "--until", "validate")
    assert ended.status == 2
    assert f"SPECFORGE_JOBS must be a whole number from 1 to 1024, not '{value}'" in ended.err
    assert ended.out == ""


def test_an_empty_variable_is_none(monkeypatch):
    from specforge.settings import read_settings

    for name in ("SPECFORGE_JOBS", "SPECFORGE_STATE", "SPECFORGE_COMMIT", "CXX", "GITHUB_STEP_SUMMARY"):
        monkeypatch.setenv(name, "")
    settings = read_settings()
    assert (settings.state, settings.cxx, settings.step_summary, settings.commit) == (
        Path(".specforge"),
        None,
        None,
        None,
    )
    assert settings.jobs >= 1


def test_a_closed_pipe_is_no_missed_target():
    code = """
import os, sys
from specforge.cli import main
read, write = os.pipe()
os.dup2(write, 1)
os.close(write)
os.close(read)
main(["explain", "specs/qwen35_rtx5090.yaml", "decode"])
"""
    ended = process(code=code)
    assert ended.returncode == 141
    assert ended.stderr == ""


def test_a_pipe_that_broke_elsewhere_is_not_taken_for_it(monkeypatch):
    def broken(path: Path) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("specforge.cli.specs._load", broken)
    ended = CliRunner().invoke(main, ["explain", SPEC], catch_exceptions=False)
    assert ended.exit_code == 4  # a fault of SpecForge's own, never the status of a missed target
    assert "not standard output" in ended.stderr
    assert "please report it" in ended.stderr


def test_what_a_terminal_cannot_show_is_escaped(project):
    (project / "specs" / "mine.yaml").write_text("summary: so ≥ far\n")
    code = f"import os; os.chdir({str(project)!r})\nfrom specforge.cli import main\nmain(['list'])"
    ended = process(code=code, env={"PYTHONIOENCODING": "latin-1:strict"})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "specs/mine.yaml  so \\u2265 far" in ended.stdout


def test_interrupted(monkeypatch, capsys):
    def stopped(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("specforge.cli.specs._load", stopped)
    with pytest.raises(SystemExit) as caught:
        main(["explain", SPEC])
    assert caught.value.code == 130
    assert "stopped" in capsys.readouterr().err


def test_several_faults_are_all_printed(project, run, monkeypatch):
    monkeypatch.chdir(project)
    path = project / SPEC
    path.write_text(path.read_text().replace("spec: qwen", "spc: qwen", 1).replace("metric: peak", "metrc: peak"))
    ended = run("explain", SPEC)
    assert ended.status == 2
    lines = [line for line in ended.err.splitlines() if not line.startswith("  hint")]
    assert [line.split(" error ")[1][:5] for line in lines] == ["SF202", "SF202", "SF201", "SF201"]
    assert all(line.startswith(f"{SPEC}:") for line in lines)
