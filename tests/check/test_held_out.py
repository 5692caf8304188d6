"""Held-out inputs, committed examples and profiles, through whole commands."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from specforge.check.held_out import search_seed

SECRET = "correct horse battery staple 5c1f"
KERNEL = Path("kernels/activation/silu/kernel.yaml")
EXAMPLES = Path("kernels/activation/silu/examples.yaml")
TEMPLATE = Path("kernels/activation/silu/kernel.cu.j2")
ROW = "{rows: 2, columns: 5, dtype: bf16, seed: 3}"


@pytest.fixture
def verify(demo: Callable, specforge: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run `check --until verify` on the README's kernel; gives the end and, where there is one, the record."""
    monkeypatch.delenv("SPECFORGE_HELD_OUT_SEED", raising=False)
    demo([1, 2])

    def run(*arguments: str):
        ended = specforge("check", "specs/demo.yaml", "--until", "verify", "--format", "json", *arguments)
        return ended, json.loads(ended.text) if ended.text else None

    return run


def plant(old: str, new: str) -> None:
    text = TEMPLATE.read_text()
    assert text.count(old) == 1
    TEMPLATE.write_text(text.replace(old, new))


def test_the_secret_is_published_with_what_it_drew(verify: Callable, home: Path) -> None:
    (home / "secret").write_text(f"{SECRET}\n")
    ended, record = verify("--examples", "20", "--held-out-seed", "secret")
    assert ended.status == 0, ended.errors
    assert record["request"]["held_out"] == {"seed": SECRET, "sha256": hashlib.sha256(SECRET.encode()).hexdigest()}
    held = record["fuzz"][0]["held_out"]
    assert (held["examples"], held["failed"], held["out_of_time"]) == (20, False, False)
    assert SECRET not in ended.errors
    assert search_seed(SECRET, "a/b") == search_seed(SECRET, "a/b")
    assert len({search_seed(seed, name) for seed in (SECRET, "other") for name in ("a/b", "a/c")}) == 4


def test_the_environment_serves_as_well_and_no_child_sees_it(
    verify: Callable, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECFORGE_HELD_OUT_SEED", SECRET)
    ended, record = verify("--examples", "10")
    assert ended.status == 0, ended.errors
    assert record["request"]["held_out"]["seed"] == SECRET
    assert "SPECFORGE_HELD_OUT_SEED" not in os.environ  # which is what workers inherit
    assert SECRET not in ended.errors


def test_without_a_secret_nothing_is_held_out(verify: Callable) -> None:
    record = verify("--examples", "5")[1]
    assert record["request"]["held_out"] is None
    assert record["fuzz"][0]["held_out"] is None


def test_a_failure_among_held_out_inputs_fails_with_its_row(
    verify: Callable, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that is wrong for few inputs: the ordinary examples miss it, a few held-out seeds do not."""
    plant(
        "  if (i >= count) return;\n", "  if (i >= count) return;\n  if (count % 11 == 7 && i == count - 1) return;\n"
    )
    ordinary, _ = verify("--examples", "4", "--seed", "5")
    assert ordinary.status == 0, ordinary.text
    for number in range(20):
        (home / "secret").write_text(f"{SECRET} {number}")
        ended, record = verify("--examples", "4", "--seed", "5", "--held-out-seed", "secret")
        if ended.status:
            break
    assert ended.status == 3
    entry = record["fuzz"][0]
    assert entry["held_out"]["failed"]
    assert entry["failure"].startswith("on held-out inputs: ")
    assert "columns" in entry["failure_row"]
    assert record["request"]["held_out"]["seed"] == f"{SECRET} {number}"


def test_until_the_verdict_the_secret_is_nowhere(verify: Callable, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ordinary search fails, nothing was drawn with it, and it stays a secret: in no file and no output."""
    plant("value / (1.0f + expf(-value))", "value / (1.0f + expf(value))")
    outside = home.parent / "secret"
    outside.write_text(SECRET)
    ended, record = verify("--examples", "10", "--held-out-seed", str(outside))
    assert ended.status == 3
    assert record["request"]["held_out"] is None
    assert SECRET not in ended.text + ended.errors
    for path in home.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_a_record_waits_for_the_verdict_on_every_spec(
    verify: Callable, specforge: Callable, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "secret").write_text(SECRET)
    text = (home / "specs/demo.yaml").read_text()
    (home / "specs/second.yaml").write_text(text.replace("spec: demo", "spec: second"))
    seen: list[bool] = []

    from specforge.check import run

    real = run.check_spec

    def watched(spec, context):
        seen.append(any(SECRET in path.read_text() for path in home.rglob("records/**/*.json")))
        return real(spec, context)

    monkeypatch.setattr(run, "check_spec", watched)
    arguments = ("--until", "verify", "--examples", "5", "--held-out-seed", "secret")
    ended = specforge("check", "specs/demo.yaml", "specs/second.yaml", *arguments)
    assert ended.status == 0, ended.errors
    assert seen == [False, False]
    assert len(list(home.rglob("records/**/*.json"))) == 2


def test_what_a_committed_example_contains_is_dropped(verify: Callable, home: Path) -> None:
    """With a domain of few cases and all of them committed, nothing is left to draw: undecided, and said."""
    text = KERNEL.read_text()
    text = re.sub(r'(rows:.*domain: )"[^"]*"', r"\1[1, 2]", text)
    text = re.sub(r'(columns:.*domain: )"[^"]*"', r"\1[256]", text)
    text = re.sub(r", edges: \[[^\]]*\]", "", text)
    text = re.sub(r"domain: \[(f32|f16|bf16)[^\]]*\]", "domain: [bf16]", text)
    KERNEL.write_text(text)
    (home / "secret").write_text(SECRET)
    rows = [f"- {{rows: {rows}, columns: 256, dtype: bf16, seed: 0}}" for rows in (1, 2)]
    EXAMPLES.write_text(f"{rows[0]}\n")
    ended, record = verify("--examples", "6", "--held-out-seed", "secret")
    assert ended.status == 0, ended.errors
    assert record["fuzz"][0]["held_out"]["examples"] == 6
    assert record["fuzz"][0]["held_out"]["dropped"] > 0
    EXAMPLES.write_text("\n".join(rows))
    ended, record = verify("--examples", "6", "--held-out-seed", "secret")
    assert record["fuzz"][0]["failure"] is None
    assert record["fuzz"][0]["held_out"]["examples"] == 0, record["fuzz"]
    assert ended.status == 4


@pytest.mark.parametrize(
    ("content", "code"), [(None, "SF001"), (b"\xff", "SF003"), (b" \n", "SF801"), (b"x" * 5000, "SF801")]
)
def test_a_file_that_holds_no_secret(verify: Callable, home: Path, content: bytes | None, code: str) -> None:
    if content is not None:
        (home / "secret").write_bytes(content)
    ended, _ = verify("--held-out-seed", "secret")
    assert ended.status == 2
    assert code in ended.errors
    assert "x" * 80 not in ended.errors


def test_committed_examples_are_replayed_first_and_must_pass(verify: Callable, home: Path) -> None:
    EXAMPLES.write_text(f"# the first odd row\n- {ROW}\n")
    ended, record = verify("--examples", "5")
    assert ended.status == 0, ended.errors
    assert record["fuzz"][0]["examples"] == 6
    plant("  if (i >= count) return;\n", "  if (i >= count || count == 10) return;\n")
    ended, record = verify("--examples", "5")
    assert ended.status == 3
    assert record["fuzz"][0]["examples"] == 1
    assert record["fuzz"][0]["failure_row"] == ROW
    assert not list(home.rglob("failures/*.yaml"))  # it is kept already
    EXAMPLES.write_text(f"- {ROW}\n- {ROW.replace('rows: 2', 'rows: 0')}\n")
    ended, _ = verify("--until", "validate")
    assert ended.status == 2
    assert "examples.yaml:2:4: error SF405" in ended.errors


def test_profiles_and_who_overrules_whom(verify: Callable) -> None:
    KERNEL.write_text(KERNEL.read_text() + "profiles: {quick: {examples: 7, shrink_seconds: 3}}\n")
    record = verify("--profile", "quick")[1]
    assert record["request"]["profile"] == "quick"
    assert record["fuzz"][0]["effort"] == {"examples": 7, "seconds": 30.0, "shrink_seconds": 3.0}
    assert record["fuzz"][0]["examples"] == 7
    record = verify("--profile", "quick", "--examples", "4", "--seconds", "20")[1]
    assert record["fuzz"][0]["effort"] == {"examples": 4, "seconds": 20.0, "shrink_seconds": 3.0}
    record = verify("--examples", "3")[1]
    assert record["fuzz"][0]["effort"] == {"examples": 3, "seconds": 120.0, "shrink_seconds": 10.0}


@pytest.mark.parametrize("text", ["profiles: {fast: {examples: 3}}", "profiles: {quick: {examples: 0}}", "varies: {}"])
def test_wrong_profiles_are_errors(verify: Callable, text: str) -> None:
    KERNEL.write_text(f"{KERNEL.read_text()}{text}\n")
    ended, _ = verify()
    assert ended.status == 2
    assert "kernel.yaml:" in ended.errors


def test_the_budget_is_kept_by_a_slow_kernel(verify: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every launch takes a second or two: the run ends within its 5 s, the grace of an example, and its own start."""
    from specforge.verify.session import GRACE

    verify("--until", "build", "--examples", "1")
    spin = "  for (volatile long long n = 0; n < 200000000; ++n) {}\n"
    plant("  if (i >= count) return;\n", f"  if (i >= count) return;\n  if (i == 0) {{ {spin} }}\n")
    verify("--examples", "1", "--seconds", "1")  # compiled, so that only verifying is timed below
    started = time.monotonic()
    ended, record = verify("--seconds", "5")
    assert time.monotonic() - started < 5 + GRACE + 15, "the start of a worker and of this command included"
    assert record["fuzz"][0]["out_of_time"]
    assert record["fuzz"][0]["seconds"] < 5 + GRACE
    assert ended.status in (0, 4)
