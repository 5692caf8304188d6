"""Drawing: every example within domains, constraints and cap; edges and ends are met; ranks ascend."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.roots import shipped
from specforge.spec.interface import Kernel, find_kernel
from specforge.verify.covering import cover
from specforge.verify.draw import RANKS, Drawer, _pick, slots
from specforge.verify.example import Example, bindings, plan_example
from specforge.verify.row import parse_row

DEVICE = {"device.multiprocessors": 132}


def sample(kernel: Kernel, cap: float, count: int, seed: int = 0) -> list[tuple[int, Example]]:
    drawer = Drawer(kernel, cover(kernel, [], 0), cap, DEVICE)
    rng = random.Random(seed)
    drawn = [drawer.draw(lambda most: rng.randint(0, most)) for _ in range(count)]
    return [pair for pair in drawn if pair is not None]


@pytest.mark.parametrize("identity", ["attention/flash_decode", "moe/router_topk"])
def test_examples_of_shipped_kernels(identity: str) -> None:
    kernel = find_kernel(identity, (shipped(),))
    variants = cover(kernel, [], 0)
    examples = sample(kernel, 2e7, 150)
    assert len(examples) == 150
    for index, example in examples:
        assert plan_example(kernel, example, DEVICE).steps <= 2e7
        assert parse_row(example.to_row(), kernel) == example
        assert bindings(kernel, example, DEVICE) == variants[index]
    for name in kernel.inputs():
        labels = kernel.file.tensors[name].labels
        assert {example.values.get(name, labels[0]) for _, example in examples} == set(labels)


def test_ends_edges_and_large_values_are_met(blend: Kernel) -> None:
    examples = [example for _, example in sample(blend, 1e6, 2400)]
    assert len(examples) == 2400
    widths = [example.parameters["width"] for example in examples]
    assert {1, 2, 3, 62, 63, 64, 65, 66} <= set(widths)
    assert max(widths) > 50_000
    rows = {example.parameters["rows"] for example in examples}
    assert {1, 2, 32, 256, 4096} <= rows
    assert all(example.parameters["rows"] % example.parameters["group"] == 0 for example in examples)
    assert {example.tunables.get("splits") for example in examples} >= {None, 1, 8}
    assert {example.offset for example in examples} >= {0, 16, 128}


def test_smallest_numbers_make_the_smallest_example(blend: Kernel) -> None:
    drawer = Drawer(blend, cover(blend, [], 0), 1e6, {})
    _, example = drawer.draw(lambda most: 0)
    assert example == Example({"rows": 1, "width": 1, "dtype": "f32", "group": 1, "signed": False}, {}, {}, 0, 0, 0)


def test_a_cap_below_the_least_case_still_draws_it(blend: Kernel) -> None:
    assert {example.parameters["width"] for _, example in sample(blend, 1, 20)} == {1}


@given(st.integers(0, 50), st.integers(0, 5000), st.lists(st.integers(0, 5050), max_size=4))
def test_cells_partition_the_range_in_order(low: int, span: int, edges: list[int]) -> None:
    high = low + span
    cells = list(dict.fromkeys(slots(low, high, edges)))
    assert [value for cell in cells for value in range(cell[0], cell[-1] + 1)] == list(range(low, high + 1))
    assert all((edge,) in cells for edge in (low, high, *edges) if low <= edge <= high)


@given(st.integers(1, 3000), st.integers(0, RANKS - 1), st.integers(0, RANKS - 1))
def test_ranks_ascend(high: int, one: int, other: int) -> None:
    cells = slots(1, high, (64,))
    one, other = sorted((one, other))
    assert 1 <= _pick(cells, one) <= _pick(cells, other) <= high


def test_every_value_has_a_rank() -> None:
    cells = slots(1, 300, (64,))
    assert {_pick(cells, rank) for rank in range(0, RANKS, RANKS // 20_000)} == set(range(1, 301))


def test_extremes_meet_both_ends_of_every_range_in_the_cheapest_variant() -> None:
    kernel = find_kernel("attention/flash_decode", (shipped(),))
    variants = cover(kernel, [], 0)
    found = Drawer(kernel, variants, 6e8, {"device.multiprocessors": 170}).extremes()
    assert {variants[place]["head_dim"] for place, _, _ in found} == {64}
    assert {(example.parameters["batch"], example.parameters["context"]) for _, example, _ in found} == {
        (1, 1),
        (64, 1),
        (1, 262144),
    }
    small = Drawer(kernel, variants, 1e6, {"device.multiprocessors": 170}).extremes()
    assert (1, 262144) not in {(example.parameters["batch"], example.parameters["context"]) for _, example, _ in small}


def test_extremes_name_the_compile_tunables_that_their_binary_has() -> None:
    kernel = find_kernel("moe/router_topk", (shipped(),))
    variants = cover(kernel, [], 0)
    for place, example, _ in Drawer(kernel, variants, 6e8, {}).extremes():
        assert {**{"warps": 4}, **example.tunables} == {"warps": variants[place]["warps"]}
