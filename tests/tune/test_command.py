"""Whole commands, on a card of the tests' own: `tune`, `tune` again, and `check` with what they wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from specforge.spec.document import load_document

ROOT = Path(__file__).parents[2]
ENTRY = Path(__file__).parent / "fake" / "fake_tune.py"
SPEC = """\
specforge: 1
spec: small
device: devices/h100_sxm.yaml
timing: {processes: 1}
benchmarks:
  routing:
    kernel: moe/router_topk
    bind: {experts: 128, top_k: 8, renormalise: true, dtype: f32}
    matrix: {tokens: [64]}
    targets:
      - {metric: registers, at_most: 64}
"""
EIGHT, FOUR = "'warps': 8", "'warps': 4"


@dataclass
class Home:
    """A folder with a spec, and the command in it."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "tunings" / "h100_sxm" / "moe__router_topk.yaml"

    @property
    def cases(self) -> list[dict[str, Any]]:
        return load_document(self.file).data["cases"]  # type: ignore[no-any-return]

    @property
    def kinds(self) -> dict[str, Any]:
        """How a process is started here."""
        env = os.environ | {"SPECFORGE_STATE": str(self.folder / ".specforge"), "SPECFORGE_JOBS": "1"}
        env |= {"SPECFORGE_LOCKS": str(self.folder / "locks"), "PYTHONPATH": str(ROOT), **self.env}
        return {"cwd": self.folder, "env": env, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def run(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run([sys.executable, str(ENTRY), *arguments], **self.kinds, timeout=300, check=False)
        return done.returncode, done.stdout, done.stderr

    def tune(self, *options: str, speeds: dict[str, float] | None = None, wrong: dict[str, str] | None = None):  # type: ignore[no-untyped-def]
        self.env |= {"FAKE_SPEEDS": json.dumps(speeds or {}), "FAKE_WRONG": json.dumps(wrong or {})}
        return self.run("tune", "specs/small.yaml", *options)


@pytest.fixture
def home(small: Callable[[str], Path]) -> Home:
    return Home(small(SPEC))


def test_tuned_again_and_used(home: Home) -> None:
    status, text, errors = home.tune(speeds={EIGHT: 0.8})
    assert status == 0, errors
    assert [case["tunables"] for case in home.cases] == [{"warps": 8}]
    assert "routing[tokens=64]: amortised_latency" in text
    assert "new: 0.8000 [" in text
    assert "2 configurations timed, all" in text
    (run,) = load_document(home.file).data["runs"]
    assert (run["card"], run["driver"], run["clocks"]) == ("NVIDIA H100 80GB HBM3", "580.00", "as found")
    assert run["facts"]["multiprocessors"] == 132
    first = home.file.read_bytes()

    status, text, _ = home.tune("--processes", "2", speeds={EIGHT: 0.8})
    assert (status, text.count("kept: ")) == (0, 1)
    assert home.file.read_bytes() != first
    assert home.cases[0]["tunables"] == {"warps": 8}

    status, text, _ = home.tune("--only", "routing", speeds={EIGHT: 1.3})
    assert (status, text.count("changed: ")) == (0, 1)
    assert "no configuration is faster than the default by more than chance; 0.7692 [" in text
    assert [case["tunables"] for case in home.cases] == [{"warps": 4}]


def test_check_uses_what_was_found_and_names_it(home: Home) -> None:
    home.tune(speeds={EIGHT: 0.8})
    options = ("specs/small.yaml", "--examples", "1", "--seconds", "60", "--backend", "emulator")
    status, text, errors = home.run("check", *options, "--until", "verify", "--record", "record.json")
    assert status == 0, text + errors
    record = json.loads((home.folder / "record.json").read_text())
    assert [(case["tunables"], case["verified"]) for case in record["cases"]] == [({"warps": 8}, True)]
    assert [binary["bindings"]["warps"] for binary in record["binaries"]] == [8]
    assert "tunings/h100_sxm/moe__router_topk.yaml" in [
        one["path"] for one in record["inputs"] if one["role"] == "tuning"
    ]
    assert (
        "tuned, from tunings/h100_sxm/moe__router_topk.yaml:"
        in home.run("explain", "specs/small.yaml", "routing[tokens=64]")[1]
    )

    text = home.file.read_text()
    start = text.index("kernel.yaml: ") + len("kernel.yaml: ")
    home.file.write_text(text[:start] + "f" * 64 + text[text.index("\n", start) :])
    status, _, errors = home.run("check", *options, "--until", "build", "--record", "again.json")
    assert status == 0
    assert "warning SF414: moe/router_topk was tuned before its kernel.yaml changed" in errors
    again = json.loads((home.folder / "again.json").read_text())
    assert [case["tunables"] for case in again["cases"]] == [{"warps": 4}]
    assert "tuning" not in [one["role"] for one in again["inputs"]]


@pytest.mark.parametrize(
    ("fault", "said"), [("wrong", "wrong before timing"), ("illegal", "illegal access"), ("crash", "crash")]
)
def test_a_wrong_configuration_is_named_and_never_wins(home: Home, fault: str, said: str) -> None:
    status, text, _ = home.tune("--only", "routing", speeds={EIGHT: 0.5}, wrong={EIGHT: fault})
    assert status == 3
    assert [case["tunables"] for case in home.cases] == [{"warps": 4}]
    assert text.count("WRONG warps=8: ") == 1
    assert said in text.lower() or fault == "crash"
    assert "specforge check specs/small.yaml --only moe/router_topk" in text


def test_a_wrong_default_is_a_fault_too_and_nothing_is_written(home: Home) -> None:
    status, text, _ = home.tune(speeds={EIGHT: 0.5}, wrong={FOUR: "wrong"})
    assert status == 3
    assert "not tuned: the default configuration could not be timed: wrong before timing" in text
    assert not home.file.exists()


def test_what_the_machine_keeps_from_being_timed(home: Home) -> None:
    status, text, _ = home.tune(wrong={FOUR: "memory"})
    assert status == 4
    assert "CUDA_ERROR_OUT_OF_MEMORY" in text
    assert not home.file.exists()


def test_a_lost_card_leaves_what_was_known(home: Home) -> None:
    home.tune(speeds={EIGHT: 0.8})
    before = home.file.read_bytes()
    status, _, errors = home.tune(wrong={EIGHT: "lost"})
    assert status == 4
    assert "the card cannot be used any more" in errors
    assert home.file.read_bytes() == before


def test_without_a_card(home: Home) -> None:
    home.env["FAKE_ABSENT"] = "no driver"
    status, _, errors = home.tune()
    assert status == 4
    assert "there is no card to tune on: no card on this machine (no driver)" in errors


def test_nothing_selected(home: Home) -> None:
    assert home.tune("--only", "nothing")[0] == 5


def test_a_broken_tuning_file_is_bad_input(home: Home) -> None:
    home.tune(speeds={EIGHT: 0.8})
    text = home.file.read_text()
    home.file.write_text(text.replace("{warps: 8}", "{warps: 5}", 1))
    status, _, errors = home.tune()
    assert status == 2
    assert "error SF405: warps = 5 lies outside the kernel's domain: 4, 8" in errors


def test_ctrl_c_keeps_the_cases_that_are_decided(home: Home) -> None:
    spec = home.folder / "specs" / "small.yaml"
    spec.write_text(SPEC.replace("tokens: [64]", "tokens: [1, 2, 4, 8, 64]"))
    home.env |= {"FAKE_SPEEDS": json.dumps({EIGHT: 0.8})}
    process = subprocess.Popen([sys.executable, str(ENTRY), "tune", "specs/small.yaml"], **home.kinds)
    while process.poll() is None and not home.file.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing was left half-written" in errors
    assert 1 <= len(home.cases) < 5
    assert [path.name for path in home.file.parent.iterdir()] == [home.file.name]
    assert home.run("explain", "specs/small.yaml")[0] == 0
