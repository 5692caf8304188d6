"""The whole command on a tiny kernel: scores, statuses, listed mutants, resuming, tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from specforge.mutate import run as run_module
from specforge.mutate.mutant import Mutant
from specforge.mutate.outcome import Outcome
from tests.mutate.conftest import TEMPLATE, Ended, Home

Mutate = Callable[..., Ended]
NAME = "test/increase"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Mutants are noted here and said to be killed; nothing is built or run."""
    tried: list[str] = []

    def attempt(mutant: Mutant, *_: object) -> Outcome:
        tried.append(mutant.id)
        return Outcome(mutant.id, "killed", "wrong")

    monkeypatch.setattr(run_module, "prepare", lambda *_: None)
    monkeypatch.setattr(run_module, "attempt", attempt)
    return tried


def outcomes(home: Home) -> dict[str, dict[str, str]]:
    """The journal's outcomes by mutant."""
    return {line["mutant"]: line for line in map(json.loads, home.journal().read_text().splitlines()[1:])}


def test_a_strong_spec_kills_every_mutant(home: Home, mutate: Mutate) -> None:
    ended = mutate(NAME, "--operator", "guard", "--operator", "relational", "--operator", "arithmetic")
    assert ended.status == 0, ended.text + ended.errors
    assert "score 100.0 %, at or above the 95 % that are due" in ended.text
    found = outcomes(home)
    assert len(found) == 2 + 2 + 3
    assert {line["status"] for line in found.values()} == {"killed"}
    assert {line["by"] for line in found.values()} >= {"wrong", "bounds"}
    killed = next(iter(found))
    home.write(more=f"equivalent_mutants:\n  - {{mutant: {killed}, reason: nobody looked}}\n")
    ended = mutate(NAME, "--operator", killed.partition("-")[0])
    assert ended.status == 2
    assert "error SF511: a mutant that is listed as equivalent is killed" in ended.errors
    assert "kernel.yaml:18:14" in ended.errors


def test_a_weak_spec_lets_mutants_survive_and_those_that_are_listed_do_not_count(home: Home, mutate: Mutate) -> None:
    home.write(domain="[32, 64]")  # n is always a multiple of the block: the guard is never needed
    ended = mutate(str(home.kernel), "--operator", "guard", "--operator", "relational")
    assert ended.status == 1
    assert "score 50.0 %, BELOW the 95 % that are due" in ended.text
    assert "  -  if (i < n) y[i] = x[i] + 3;\n  +  if (true) y[i] = x[i] + 3;\n" in ended.text
    assert "kernels/test/increase/kernel.cu.j2:8" in ended.text
    assert mutate(NAME, "--operator", "guard", "--operator", "relational", "--at-least", "50").status == 0
    survivors = [name for name, line in outcomes(home).items() if line["status"] == "survived"]
    reason = "n is a multiple of 32"
    rows = "".join(f"  - {{mutant: {name}, reason: {reason}}}\n" for name in survivors)
    home.write(domain="[32, 64]", more=f"equivalent_mutants:\n{rows}")
    before = home.journal().read_text()
    ended = mutate(NAME, "--operator", "guard", "--operator", "relational")
    assert ended.status == 0
    assert "score 100.0 %" in ended.text
    assert home.journal().read_text() == before  # a list of equivalent mutants changes no outcome


def test_a_listed_mutant_that_is_none_is_refused_before_anything_runs(home: Home, mutate: Mutate) -> None:
    home.write(more="equivalent_mutants:\n  - {mutant: guard-00000000, reason: gone}\n")
    ended = mutate(NAME)
    assert ended.status == 2
    assert "kernels/test/increase/kernel.yaml:18:14: error SF511: no mutant of the template has this id" in ended.errors
    assert "guard-00000000" in ended.errors
    assert "remove the entry" in ended.errors
    assert not home.journal().exists()


def test_code_that_is_the_same_is_equivalent_and_code_that_does_not_compile_does_not_count(
    home: Home, mutate: Mutate
) -> None:
    home.write(template=TEMPLATE.replace("  const int i", "  float k[2] = {1, 2};\n  const int i"))
    ended = mutate(NAME, "--line", "7")
    found = [line["status"] for line in outcomes(home).values()]
    assert sorted(found) == ["equivalent"] * 7 + ["invalid"], ended.text
    assert ended.status == 0


def test_a_run_that_was_stopped_goes_on(
    home: Home, mutate: Mutate, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = run_module.attempt

    def attempt(*given: object) -> Outcome:
        if len(told) == 2:
            raise KeyboardInterrupt
        return quick(*given)

    monkeypatch.setattr(run_module, "attempt", attempt)
    stopped = mutate(NAME, "--operator", "arithmetic")
    assert stopped.status == 130
    assert "nothing was left half-written" in stopped.errors
    assert list(outcomes(home)) == told
    with home.journal().open("a") as journal:
        journal.write('{"mutant": "arithm')  # as a power cut leaves it
    monkeypatch.setattr(run_module, "attempt", quick)
    assert mutate(NAME, "--operator", "arithmetic").status == 0
    assert len(told) == len(set(told)) == len(outcomes(home)) == 3
    home.write(template=f"// More is said.\n{TEMPLATE}")
    assert mutate(NAME, "--operator", "arithmetic").status == 0
    assert len(told) == 3
    home.write(template=f"{TEMPLATE}constexpr int MORE = 1;\n")
    assert mutate(NAME, "--operator", "arithmetic").status == 0
    assert len(told) == 6


def test_shards_are_put_together(home: Home, mutate: Mutate, told: list[str]) -> None:
    for number in (1, 2, 3):
        assert mutate(NAME, "--shard", f"{number}/3").status == 0
        assert len(told) == len(set(told))
    before = len(told)
    assert mutate(NAME, "--table").status == 0  # nothing is left to try
    assert (
        len(told)
        == before
        == json.loads(Path("results/mutation/test_increase.json").read_text())["operators"][-1]["created"]
    )
    assert not outcomes(home)  # each shard has a file of its own


def test_ctrl_c_ends_at_once_and_leaves_whole_lines(home: Home) -> None:
    command = [sys.executable, "-c", "from specforge.cli import main; main()", "mutate", NAME]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not (home.journal().is_file() and outcomes(home)):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "nothing was left half-written" in errors
    assert "Traceback" not in errors
    assert outcomes(home)


def test_a_sample_is_the_same_for_the_same_seed(home: Home, mutate: Mutate, told: list[str]) -> None:
    mutate(NAME, "--sample", "2", "--seed", "7")
    first = set(outcomes(home))
    assert len(first) == 2
    home.journal().unlink()
    mutate(NAME, "--sample", "2", "--seed", "7")
    assert set(outcomes(home)) == first == set(told)


def test_results_are_stored_and_the_table_is_made_of_them(
    home: Home, mutate: Mutate, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = run_module.attempt
    monkeypatch.setattr(run_module, "attempt", lambda *given: replace(killed(*given), status="survived"))
    ended = mutate(NAME, "--table")
    assert ended.status == 1, ended.errors
    path, page = Path("results/mutation/test_increase.json"), Path("docs/mutation.md")
    stored = json.loads(path.read_text())
    assert stored["mutation"] == NAME
    assert set(stored["digests"]) == {"template", "reference", "kernel"}
    assert [entry["mutant"] for entry in stored["survivors"]] == told
    said = page.read_text()
    assert f"## {NAME}: 0.0 %" in said
    page.unlink()
    assert mutate("--table").status == 0
    assert page.read_text() == said
    home.write(template=f"// More is said.\n{TEMPLATE}")  # no result changes by it; the lines do
    assert mutate("--table").status == 0
    moved = json.loads(path.read_text())
    assert [entry["line"] for entry in moved["survivors"]] == [entry["line"] + 1 for entry in stored["survivors"]]
    assert moved["digests"] == stored["digests"]
    assert all(entry["diff"][0].startswith(f"@@ -{entry['line'] - 1},") for entry in moved["survivors"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a kernel"),
        (("test/increas",), "no kernel 'test/increas'"),
        ((NAME, "--operator", "gaurd"), "did you mean 'guard'"),
        ((NAME, "--table", "x.md", "--sample", "3"), "--table stores whole results"),
        ((NAME, "--table", "x.md", "--shard", "1/2"), "--table stores whole results"),
        ((NAME, "--shard", "0/2"), "NUMBER/COUNT, such as 3/16"),
        ((NAME, "--shard", "3/2"), "NUMBER/COUNT, such as 3/16"),
        (("--table", NAME), "--table names a Markdown file"),
        ((NAME, "--at-least", "nan"), "nan"),
    ],
)
def test_a_wrong_command_line_ends_with_two(home: Home, mutate: Mutate, arguments: tuple[str, ...], said: str) -> None:
    ended = mutate(*arguments)
    assert ended.status == 2
    assert said in ended.errors


def test_a_kernel_that_is_wrong_itself_is_refused(home: Home, mutate: Mutate) -> None:
    home.write(template=TEMPLATE.replace("+ 3", "+ 4"))
    ended = mutate(NAME, "--sample", "1")
    assert ended.status == 2
    assert "error SF510: test/increase fails its own check, unchanged" in ended.errors
