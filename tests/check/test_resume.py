"""A run that is killed and resumed ten times ends as an undisturbed one; on a card of the tests' own."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.check.killable import ROOT, Card, kill_and_resume, measured

ENTRY = Path(__file__).parent / "fake" / "fake_check.py"
SPEC = """\
specforge: 1
spec: small
device: devices/h100_sxm.yaml
benchmarks:
  routing:
    kernel: moe/router_topk
    bind: {experts: 128, top_k: 8, renormalise: true, dtype: f32}
    matrix: {tokens: [1, 2, 3, 4]}
    targets:
      - {metric: latency, at_most: 50 us}
      - {metric: amortised_latency, at_most: 50 us, level: warn}
"""


@pytest.fixture
def card(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Card:
    home = tmp_path / "home"
    (home / "specs").mkdir(parents=True)
    (home / "specs" / "small.yaml").write_text(SPEC)
    (home / "specs" / "devices").symlink_to(ROOT / "specs" / "devices")
    (home / "kernels").symlink_to(ROOT / "kernels")
    shared = tmp_path_factory.getbasetemp().parent / "specforge-cache"
    shared.mkdir(exist_ok=True)
    (home / ".specforge").mkdir()
    (home / ".specforge" / "cache").symlink_to(shared)
    return Card(home, (str(ENTRY),), "GPU-fake")


def test_killed_at_ten_moments_and_resumed(card: Card) -> None:
    seconds = card.seconds_of_measuring("--record", "whole.json")
    assert not card.journal.exists()
    whole = card.record("whole.json")
    assert [len(case["measurement"]["rounds"]) for case in whole["cases"]] == [3] * 4
    kills, kept = kill_and_resume(card, 10, longest=seconds / 3, seed=4)
    assert kills >= 5, card.said
    status, _, errors = card.run("--resume", "--record", "resumed.json")
    assert status == 0
    assert f"resuming: {kept} measurements are kept" in errors
    again = card.record("resumed.json")
    assert measured(again) == measured(whole)
    assert [item["verdict"] for item in again["judgements"]] == [item["verdict"] for item in whole["judgements"]]
    assert again["session"] == whole["session"]
    assert (whole["resumed"], 1 <= len(again["resumed"]) <= kills) == ([], True)
    assert not card.journal.exists()


def test_without_resume_an_unfinished_run_is_set_aside(card: Card) -> None:
    assert card.kill_in_the_midst(0.2)
    unfinished = card.journal.read_bytes()
    status, _, errors = card.run("--record", "record.json", "--processes", "1")
    assert status == 0
    assert "an unfinished run was found and set aside" in errors
    aside = card.journal.with_suffix(".aside.jsonl")
    assert aside.read_bytes()[: len(unfinished) - 300] == unfinished[:-300]
    assert card.record("record.json")["resumed"] == []


def test_what_was_changed_since_is_named(card: Card) -> None:
    assert card.kill_in_the_midst(0.2)
    spec = card.home / "specs" / "small.yaml"
    spec.write_text(SPEC.replace("50 us", "60 us", 1))
    status, _, errors = card.run("--resume", "--processes", "2")
    assert status == 2
    assert "SF607" in errors
    assert "it differs in spec specs/small.yaml, the timing" in errors


def test_specs_of_one_run_share_its_calibration(card: Card) -> None:
    (card.home / "specs" / "other.yaml").write_text(SPEC.replace("spec: small", "spec: other"))
    assert card.run("specs/other.yaml", "--processes", "1")[0] == 0
    records = [json.loads(path.read_text()) for path in card.home.rglob("*.json") if "cases" in path.read_text()]
    assert len(records) >= 2
    assert {record["session"]["rates"]["copy"] for record in records} == {2.7e12}


def test_each_fault_costs_its_own_case(card: Card) -> None:
    card.faults = {"'tokens': 1": "hang", "'tokens': 2": "crash", "'tokens': 3": "memory"}
    status, _, errors = card.run("--record", "record.json")
    found = card.record("record.json")["cases"]
    assert status == 3, errors
    assert found[0]["fault"].startswith("hang: no answer within")
    assert found[1]["fault"].startswith("crash: ")
    assert "CUDA_ERROR_OUT_OF_MEMORY" in found[2]["trouble"]
    assert [case["measurement"] is not None for case in found] == [False, False, False, True]
    assert (found[3]["verified"], len(found[3]["measurement"]["rounds"])) == (True, 3)
    assert card.journal.exists(), "what trouble with the machine left open can be resumed"
    card.faults = {}
    status, _, errors = card.run("--resume", "--record", "again.json")
    again = card.record("again.json")["cases"]
    assert "resuming: 5 measurements are kept" in errors
    assert again[2]["trouble"] is None
    assert len(again[2]["measurement"]["rounds"]) == 3
    assert [again[0]["fault"], again[1]["fault"]] == [found[0]["fault"], found[1]["fault"]]


def test_an_illegal_access_ends_its_process_and_not_the_round(card: Card) -> None:
    card.faults = {"'tokens': 2": "illegal", "'tokens': 3": "once"}
    status, _, _ = card.run("--record", "record.json", "--processes", "2")
    found = card.record("record.json")["cases"]
    assert status == 3
    assert found[1]["fault"] == "illegal access: an illegal memory access was encountered"
    assert [len(case["measurement"]["rounds"]) for case in (found[0], found[2], found[3])] == [2, 2, 2]
    assert found[2]["trouble"] is None, "trouble with the machine is tried once more"


def test_a_card_that_is_lost_is_trouble_for_the_rest(card: Card) -> None:
    card.faults = {"'tokens': 3": "lost"}
    status, _, _ = card.run("--record", "record.json")
    found = card.record("record.json")["cases"]
    assert status == 4
    assert [case["fault"] for case in found] == [None] * 4
    assert all("the card cannot be used any more" in case["trouble"] for case in found)
    assert all("no CUDA-capable device is detected" in case["trouble"] for case in found)
    assert [len(case["measurement"]["rounds"]) for case in found[:2]] == [1, 1]
    assert card.journal.exists()


@pytest.mark.parametrize("options", [("--until", "verify"), ("--held-out-seed", "secret"), ("--case", "{tokens: 1}")])
def test_resume_means_nothing_there(card: Card, options: tuple[str, ...]) -> None:
    (card.home / "secret").write_text("a secret")
    status, _, errors = card.run("--resume", "--only", "routing", *options)
    assert (status, "SF801" in errors, "--resume" in errors) == (2, True, True)


def test_with_held_out_inputs_no_journal_is_written(card: Card) -> None:
    (card.home / "secret").write_text("a secret")
    process = card.start("--held-out-seed", "secret", "--record", "record.json")
    seen = False
    while process.poll() is None:
        seen |= card.journal.parent.exists()
        time.sleep(0.01)
    _, errors = process.communicate()
    assert (process.returncode, seen) == (0, False), errors
    assert len(card.record("record.json")["cases"][0]["measurement"]["rounds"]) == 3
