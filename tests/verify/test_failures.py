"""Failing examples: kept, replayed, dropped, and never in the way."""

from __future__ import annotations

from pathlib import Path

from specforge.spec.interface import Kernel
from specforge.verify.example import Example
from specforge.verify.failures import KEPT, failures_path, load_failures, update_failures


def example(seed: int) -> Example:
    return Example({"rows": 4, "width": 65, "dtype": "bf16", "group": 2, "signed": True}, seed=seed)


def test_newest_first_and_gone_when_repaired(blend: Kernel, tmp_path: Path) -> None:
    assert load_failures(blend, tmp_path) == ()
    update_failures(blend, tmp_path, [example(1)])
    update_failures(blend, tmp_path, [example(2)])
    update_failures(blend, tmp_path, [example(1)])
    assert load_failures(blend, tmp_path) == (example(1), example(2))
    assert failures_path(tmp_path, blend.identity).name == "toy__blend.yaml"
    update_failures(blend, tmp_path, repaired=[example(1)])
    assert load_failures(blend, tmp_path) == (example(2),)
    update_failures(blend, tmp_path, repaired=[example(2)])
    assert list((tmp_path / "failures").iterdir()) == []


def test_a_limit(blend: Kernel, tmp_path: Path) -> None:
    update_failures(blend, tmp_path, [example(seed) for seed in range(KEPT + 9)])
    assert load_failures(blend, tmp_path) == tuple(example(seed) for seed in range(KEPT))


def test_rows_that_no_longer_fit_are_dropped(blend: Kernel, tmp_path: Path) -> None:
    path = failures_path(tmp_path, blend.identity)
    path.parent.mkdir()
    path.write_text(f"# by hand\n- {{rows: 0}}\n- {example(3).to_row()}\nnonsense: [\n")
    assert load_failures(blend, tmp_path) == (example(3),)
    update_failures(blend, tmp_path, [example(4)])
    assert "rows: 0" not in path.read_text()
    assert load_failures(blend, tmp_path) == (example(4), example(3))


def test_garbage_is_no_obstacle(blend: Kernel, tmp_path: Path) -> None:
    path = failures_path(tmp_path, blend.identity)
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe\x00- {")
    assert load_failures(blend, tmp_path) == ()
    update_failures(blend, tmp_path, [example(5)])
    assert load_failures(blend, tmp_path) == (example(5),)
