"""The committed mutation scores belong to the shipped kernels as they are, and are good enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specforge.mutate.journal import file_digests
from specforge.mutate.mutant import make
from specforge.mutate.operators import changes
from specforge.mutate.report import table
from specforge.mutate.tokens import read
from specforge.spec.interface import find_kernel, list_kernels

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "mutation"
KERNELS = sorted(list_kernels((ROOT,)))
AGAIN = "stale: run `specforge mutate` for this kernel with `--table`"


@pytest.mark.parametrize("name", KERNELS)
def test_the_committed_score_is_of_the_shipped_kernel(name: str) -> None:
    path = RESULTS / f"{name.replace('/', '_')}.json"
    assert path.is_file(), AGAIN
    stored = json.loads(path.read_text())
    kernel = find_kernel(name, (ROOT,))
    assert stored["mutation"] == name
    assert stored["digests"] == file_digests(kernel), AGAIN
    source = read(kernel.template.read_text())
    lines = {mutant.id: mutant.line for mutant in make(source, changes(source))}
    for entry in (*stored["listed"], *stored["survivors"]):
        assert lines[entry["mutant"]] == entry["line"], "run `specforge mutate --table`"
    assert stored["score"] >= 95


def test_the_committed_table_is_made_of_the_committed_results() -> None:
    assert (ROOT / "docs" / "mutation.md").read_text() == table(RESULTS), AGAIN
