"""The page of what kernels reach: from committed records, and from ones that something is the matter with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from specforge.record.ledger import published
from specforge.record.measured import EstimateEntry
from specforge.record.model import MetricEntry, PeerEntry, Record
from specforge.record.provenance import changed_since
from specforge.record.store import read_record
from specforge.report.kernels import HEADS, card_of, newest, render
from tests.report.flawed import FLAWED

ROOT = Path(__file__).parents[2]
LEDGER = ROOT / "results" / "ledger.jsonl"
FIVE = ROOT / "results/h100_sxm/qwen35_h100/2026-11-22-637acee50187.json"
ONE = ROOT / "results/h100_sxm/qwen35_h100/2026-11-21-6c6212b1506d.json"
EMULATED = ROOT / "results/rtx5090/qwen35_rtx5090/2026-11-22-c70834faf417.json"
CASE = "router_topk[tokens=8]"


@pytest.fixture(scope="module")
def record() -> Record:
    return read_record(FIVE)


def changed(record: Record, **update: Any) -> Record:
    """The record with something else in one of its cases."""
    cases = [case.model_copy(update=update) if case.id == CASE else case for case in record.cases]
    return record.model_copy(update={"cases": cases})


def row(record: Record) -> dict[str, str]:
    """The row of that one case, by head."""
    (line,) = [
        line for line in render([(record, [])]).splitlines() if line.startswith("| moe/router_topk | tokens 8, ")
    ]
    return dict(zip(HEADS, (cell.strip() for cell in line.strip("|").split("|")), strict=True))


# --- which records ----------------------------------------------------------------------------------------------------


def test_of_each_spec_the_newest_that_was_timed(record: Record) -> None:
    one, emulated = read_record(ONE), read_record(EMULATED)
    untimed = emulated.model_copy(update={"spec": record.spec})
    assert newest([one, emulated, record]) == [record, emulated]
    assert newest([record, untimed]) == [record]  # a later check without a card takes no times away
    assert newest([emulated, untimed.model_copy(update={"spec": emulated.spec})]) == [
        untimed.model_copy(update={"spec": emulated.spec})
    ]
    other = record.model_copy(
        update={"environment": record.environment.model_copy(update={"card": {"name": "NVIDIA H200"}})}
    )
    assert newest([record, other]) == [record, other]  # the same spec on two cards


def test_those_of_the_ledger() -> None:
    records = published(LEDGER)
    assert len(records) == len(LEDGER.read_text().splitlines())
    shown = render([(each, []) for each in newest(records)])
    assert {line for line in shown.splitlines() if line.startswith("## ")} == {
        f"## {card_of(each)}" for each in newest(records)
    }


# --- what a row says --------------------------------------------------------------------------------------------------


def test_a_row(record: Record) -> None:
    assert row(record) == {
        "kernel": "moe/router_topk",
        "shape": "tokens 8, experts 256, top_k 8, dtype f32, renormalise true",
        "amortised": "2.068 us",
        "95 % interval": "2.063 us .. 2.073 us",
        "isolated": "4.322 us +-2.5 %",
        "overlapped": "-",
        "of the roofline": "0.1256 %",
        "of the achievable": "0.136 %",
        "best peer": "-",
        "times as fast": "-",
    }


def test_shares_of_the_roofline_are_of_the_amortised_time(record: Record) -> None:
    for case in record.cases:
        if case.measurement is not None:
            achievable = case.metrics["achievable_bandwidth_share"].value
            read = case.metrics["amortised_bandwidth"].value / achievable
            share = (
                case.metrics["amortised_bandwidth"].value / 3350e9
            )  # the datasheet's; these kernels are bound by memory
            shown = f"| {100 * share:.4g} % | {100 * achievable:.4g} % |"
            assert shown in render([(record, [])]), (case.id, read)


def test_the_best_peer_is_the_one_hardest_to_beat(record: Record) -> None:
    (case,) = [case for case in record.cases if case.id == CASE]
    ratios = {
        "amortised_speedup[torch_topk]": MetricEntry(value=3.0, unit="1", low=2.9, high=3.1),
        "amortised_speedup[triton_fused]": MetricEntry(value=1.25, unit="1", low=1.2, high=1.3),
        "speedup[torch_sort]": MetricEntry(value=0.5, unit="1", low=0.4, high=0.6),  # of another mode
    }
    entry = {"tolerance_times": 1.0, "reason": None, "worst_ratio": 0.5, "times": {}, "rounds": []}
    peers = {
        "triton_fused": PeerEntry(versions={"triton": "3.6"}, absent=None, **entry),
        "flash": PeerEntry(versions={}, absent="it is not installed", **entry),
    }
    with_peers = changed(record, metrics=case.metrics | ratios, peers=peers)
    found = row(with_peers)
    assert (found["best peer"], found["times as fast"]) == ("triton_fused", "1.25 (1.2 to 1.3)")
    shown = render([(with_peers, [])])
    assert "- flash is absent in router_topk[tokens=8]: it is not installed.\n" in shown
    assert "- Peers: triton 3.6." in shown


def test_overlapped_stands_beside(record: Record) -> None:
    (case,) = [case for case in record.cases if case.id == CASE]
    assert case.measurement is not None
    faster = EstimateEntry(value=1.5e-6, low=1.485e-6, high=1.515e-6, within=None, between=None, processes=5)
    estimates = case.measurement.estimates | {"overlapped": faster}
    found = row(changed(record, measurement=case.measurement.model_copy(update={"estimates": estimates})))
    assert (found["amortised"], found["overlapped"]) == ("2.068 us", "1.5 us +-1 %")


def test_an_old_record_has_gaps_and_no_guesses() -> None:
    old = read_record(ONE)
    found = row(old)
    assert found["isolated"].endswith(" %")
    assert {found[head] for head in HEADS[2:4] + HEADS[5:]} == {"-"}
    assert "commit" in render([(old, [])])


# --- what is not as it should be --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("update", "said"),
    FLAWED,
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_no_times_of_what_is_wrong(record: Record, update: dict[str, Any], said: str) -> None:
    spoilt = changed(record, **update)
    assert {*list(row(spoilt).values())[2:]} == {"-"}
    assert f"- No times of {CASE} count: {said}.\n" in render([(spoilt, [])])


def test_no_times_of_what_may_be_warm(record: Record) -> None:
    (case,) = [case for case in record.cases if case.id == CASE]
    assert case.measurement is not None
    first, *rest = case.measurement.rounds
    rounds = [first.model_copy(update={"cold": "unproven"}), *rest]
    spoilt = changed(record, measurement=case.measurement.model_copy(update={"rounds": rounds}))
    assert row(spoilt)["amortised"] == "-"
    assert f"- No times of {CASE} count: cold is unproven.\n" in render([(spoilt, [])])


def test_what_was_not_timed_says_why(record: Record) -> None:
    missing = {"amortised_latency": "the card was never free"}
    shown = render([(changed(record, measurement=None, metrics={}, missing=missing), [])])
    assert "| moe/router_topk | tokens 8, " not in shown
    assert f"- Not timed: {CASE}: the card was never free.\n" in shown


def test_nothing_timed_at_all() -> None:
    shown = render([(read_record(EMULATED), ["kernels/a"])])
    assert shown.startswith("## NVIDIA GeForce RTX 5090\n\n### qwen35_rtx5090\n")
    assert "Nothing was timed: it ran on the CPU emulator, `--until verify`." in shown
    assert "| kernel |" not in shown


def test_a_stale_record_says_of_which_commit_it_is(record: Record, tmp_path: Path) -> None:
    """A file that was changed and one that is gone are named; a spec's targets are no reason."""
    for name in ("specs", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    spec = tmp_path / record.spec_path
    before = changed_since(record, spec)
    header = "kernels/include/warp.cuh"
    template = "kernels/moe/router_topk/kernel.cu.j2"
    (tmp_path / header).write_text("// other\n")
    (tmp_path / template).unlink()
    spec.write_text(spec.read_text() + "# a comment\n")
    found = changed_since(record, spec)
    assert set(found) - set(before) == {header, template} - set(before)
    shown = render([(record, found)])
    commit = str(record.sources.commit)[:12]
    assert f"commit {commit}.\n**Stale**: these figures are of that commit, and `" in shown
    assert f"`{header}`" in shown
    assert "have changed since." in shown
    assert "**Stale**" not in render([(record, [])])
    files = ["kernels/moe/router/kernel.yaml", "kernels/moe/router/kernel.cu.j2"]
    assert "and `moe/router` has changed since." in render([(record, files)])  # one kernel, whichever its files


def test_uncommitted_sources_are_named(record: Record) -> None:
    dirty = record.model_copy(update={"sources": record.sources.model_copy(update={"dirty": True})})
    assert "with changes.\n" in render([(dirty, [])])
