"""Failing examples: kept, replayed, dropped, and never in the way."""

from __future__ import annotations

import itertools
from pathlib import Path

from specforge.spec.interface import Kernel
from specforge.verify.example import Example
from specforge.verify.failures import KEPT, failures_path, load_failures, update_failures


def example(seed: int) -> Example:
    return Example({"rows": 4, "width": 65, "dtype": "bf16", "group": 2, "signed": True}, seed=seed)


def test_sorted_and_gone_when_repaired(blend: Kernel, tmp_path: Path) -> None:
    assert load_failures(blend, tmp_path) == ()
    update_failures(blend, tmp_path, [example(2)])
    update_failures(blend, tmp_path, [example(1)])
    update_failures(blend, tmp_path, [example(2)])
    assert load_failures(blend, tmp_path) == (example(1), example(2))
    path = failures_path(tmp_path, blend.identity)
    assert path.name == "toy__blend.yaml"
    assert [line for line in path.read_text().splitlines() if not line.startswith("#")] == [
        f"- {example(1).to_row()}",
        f"- {example(2).to_row()}",
    ]
    update_failures(blend, tmp_path, repaired=[example(1)])
    assert load_failures(blend, tmp_path) == (example(2),)
    update_failures(blend, tmp_path, repaired=[example(2)])
    assert list((tmp_path / "failures").iterdir()) == []


def test_the_order_of_finding_leaves_no_trace(blend: Kernel, tmp_path: Path) -> None:
    texts = []
    for place, order in enumerate(itertools.permutations((11, 2, 30))):
        for seed in order:
            update_failures(blend, tmp_path / str(place), [example(seed)])
        texts.append(failures_path(tmp_path / str(place), blend.identity).read_bytes())
    assert len(set(texts)) == 1


def test_the_file_is_yaml_and_an_update_changes_only_its_own_lines(blend: Kernel, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    update_failures(blend, tmp_path, [example(1), example(5)])
    path = failures_path(tmp_path, blend.identity)
    assert [row["seed"] for row in YAML(typ="safe").load(path)] == [1, 5]
    commented = path.read_text().replace("- {", "# seen on a Tuesday, *twice*\n- {", 1)
    commented = commented.replace("seed: 5}", "seed: 5}  # & again") + "# the end\n"
    path.write_text(commented)
    stamp = path.stat().st_ino
    update_failures(blend, tmp_path, [example(5)])
    assert path.stat().st_ino == stamp
    update_failures(blend, tmp_path, [example(3)])
    row = f"- {example(3).to_row()}\n"
    assert path.read_text() == commented.replace("- " + example(5).to_row(), row + "- " + example(5).to_row())
    assert load_failures(blend, tmp_path) == (example(1), example(3), example(5))
    update_failures(blend, tmp_path, repaired=[example(1)])
    assert "Tuesday" not in path.read_text()
    assert path.read_text().endswith("# & again\n# the end\n")


def test_a_limit(blend: Kernel, tmp_path: Path) -> None:
    update_failures(blend, tmp_path, [example(seed) for seed in range(KEPT)])
    update_failures(blend, tmp_path, [example(KEPT + 9)])
    found = load_failures(blend, tmp_path)
    assert len(found) == KEPT
    assert example(KEPT + 9) in found


def test_rows_that_no_longer_fit_are_dropped(blend: Kernel, tmp_path: Path) -> None:
    path = failures_path(tmp_path, blend.identity)
    path.parent.mkdir()
    path.write_text(f"# by hand\n- {{rows: 0}}\n- {example(3).to_row()}\nnonsense: [\n")
    assert load_failures(blend, tmp_path) == (example(3),)
    update_failures(blend, tmp_path, [example(4)])
    assert "rows: 0" not in path.read_text()
    assert load_failures(blend, tmp_path) == (example(3), example(4))


def test_garbage_is_no_obstacle(blend: Kernel, tmp_path: Path) -> None:
    path = failures_path(tmp_path, blend.identity)
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe\x00- {")
    assert load_failures(blend, tmp_path) == ()
    update_failures(blend, tmp_path, [example(5)])
    assert load_failures(blend, tmp_path) == (example(5),)
