"""On a card with processors to spare, the first spec of a run searches the kernels of those after it, too."""

from __future__ import annotations

import shutil

import pytest

from specforge.record.model import Record
from specforge.record.store import read_record
from tests.check.killable import ROOT, Card
from tests.check.test_resume import card  # noqa: F401 -- a fixture

SECOND = """\
specforge: 1
spec: second
device: devices/h100_sxm.yaml
benchmarks:
  argmax:
    kernel: norm/argmax
    bind: {tokens: 1}
    matrix: {vocabulary: [1000, 5000]}
    targets:
      - {metric: latency, at_most: 50 us}
"""


@pytest.fixture
def two(card: Card) -> Card:  # noqa: F811
    """`small` with router_topk and `second` with argmax, in a folder with kernels of its own."""
    (card.home / "specs" / "second.yaml").write_text(SECOND)
    (card.home / "kernels").unlink()
    shutil.copytree(ROOT / "kernels", card.home / "kernels")
    card.jobs = 3
    return card


def records(card: Card) -> dict[str, Record]:  # noqa: F811
    found = [read_record(path) for path in sorted((card.home / ".specforge" / "records").rglob("*.json"))]
    return {record.spec: record for record in found}


def test_one_stage_searches_both(two: Card) -> None:
    status, _, errors = two.run("specs/second.yaml")
    assert status == 0, errors
    assert "fuzzing moe/router_topk, norm/argmax" in errors
    assert errors.count("fuzzing") == 1
    found = records(two)
    assert [[entry.kernel for entry in found[name].fuzz] for name in ("small", "second")] == [
        ["moe/router_topk"],
        ["norm/argmax"],
    ]
    assert found["second"].fuzz[0].searched_for == "small"
    assert all(case.verified for record in found.values() for case in record.cases)
    assert {binary.kernel for binary in found["small"].binaries} == {"moe/router_topk"}


def test_without_processors_to_spare_each_searches_its_own(two: Card) -> None:
    two.jobs = 1
    status, _, errors = two.run("specs/second.yaml")
    assert status == 0, errors
    assert errors.count("fuzzing") == 2
    assert records(two)["second"].fuzz[0].searched_for is None


@pytest.mark.parametrize(("name", "text"), [("kernel.cu.j2", "no CUDA"), ("reference.py", "def reference(**_): 1 / 0")])
def test_what_is_wrong_with_it_ends_its_own_spec(two: Card, name: str, text: str) -> None:
    (two.home / "kernels" / "norm" / "argmax" / name).write_text(text)
    status, _, errors = two.run("specs/second.yaml")
    assert status == 2, errors
    assert "kernels/norm/argmax" in errors
    assert [(record.spec, record.status) for record in records(two).values()] == [("small", 0)]
