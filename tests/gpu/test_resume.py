"""On a card: a run that is killed and resumed has the cells and rounds of an undisturbed one, each measured once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from specforge.backend.probe import probe
from tests.check.killable import ROOT, Card, kill_and_resume

SPEC = """\
specforge: 1
spec: small
device: devices/h100_sxm.yaml
timing: {seconds: "0.3 s", processes: 2}
benchmarks:
  copying:
    kernel: calibration/copy
    matrix: {words: [262144, 4194304]}
  routing:
    kernel: moe/router_topk
    bind: {experts: 256, top_k: 8, renormalise: true, dtype: f32}
    matrix: {tokens: [1, 64]}
"""


@pytest.mark.gpu
def test_killed_and_resumed(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "small.yaml").write_text(SPEC)
    (tmp_path / "specs" / "devices").symlink_to(ROOT / "specs" / "devices")
    (tmp_path / "kernels").symlink_to(ROOT / "kernels")
    card = Card(tmp_path, ("-m", "specforge"), probe().cards[0].uuid, jobs=8, patient=True)
    begin = time.monotonic()
    kills, kept = kill_and_resume(card, 2, longest=1.0, seed=1)
    print(f"\nkilled {kills} times in {time.monotonic() - begin:.1f} s, {kept} measurements kept", *card.said, sep="\n")
    status, out, errors = card.run("--resume", "--record", "resumed.json")
    print(f"resumed: status {status} after {time.monotonic() - begin:.1f} s", out, errors, sep="\n", flush=True)
    assert (tmp_path / "resumed.json").exists()
    record = card.record("resumed.json")
    shape = [
        (
            case["id"],
            len(case["measurement"]["rounds"]) if case["measurement"] else None,
            {
                mode: (round(found["value"] * 1e6, 2), found["processes"])
                for mode, found in case["measurement"]["estimates"].items()
            }
            if case["measurement"]
            else case["trouble"] or case["fault"],
        )
        for case in record["cases"]
    ]
    print(f"resumed {record['resumed']}", *shape, record["session"], sep="\n")
    assert kills >= 1
    assert kept >= 1
    assert f"resuming: {kept} measurements are kept" in errors
    assert [rounds for _, rounds, _ in shape] == [2] * 4
    assert all(set(estimates) >= {"isolated", "amortised"} for _, _, estimates in shape)
    assert not card.journal.exists()
