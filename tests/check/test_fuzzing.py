"""Kernels searched side by side on a card, by a whole command, in threads and each in a process of its own."""

from __future__ import annotations

import pytest

from tests.check.killable import Card
from tests.check.test_resume import card  # noqa: F401 -- a fixture

ARGMAX = """\
  argmax:
    kernel: norm/argmax
    bind: {tokens: 1}
    matrix: {vocabulary: [1000, 5000]}
    targets:
      - {metric: latency, at_most: 50 us}
"""


@pytest.fixture
def two(card: Card) -> Card:  # noqa: F811
    spec = card.home / "specs" / "small.yaml"
    spec.write_text(spec.read_text() + ARGMAX)
    return card


def test_searches_apart_find_what_searches_in_threads_find(two: Card) -> None:
    found = []
    for two.jobs in (1, 4):
        status, _, errors = two.run("--record", "record.json")
        assert status == 0, errors
        record = two.record("record.json")
        assert all(case["verified"] for case in record["cases"])
        found.append([{**entry, "seconds": None} for entry in record["fuzz"]])
    assert found[0] == found[1]
    assert [entry["kernel"] for entry in found[0]] == ["moe/router_topk", "norm/argmax"]
