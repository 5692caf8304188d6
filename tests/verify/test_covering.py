"""Covering: few variants, every value, constraints hold, preferred ones first."""

from __future__ import annotations

import itertools

from specforge.roots import shipped
from specforge.spec.interface import Kernel, find_kernel
from specforge.verify.covering import cover, least_steps


def values(variants: list[dict]) -> dict[str, set]:
    return {name: {variant[name] for variant in variants} for name in variants[0]}


def test_every_value_in_few_variants(blend: Kernel) -> None:
    variants = cover(blend, [], 0, fewest=0)
    assert len(variants) == 3
    assert values(variants) == {
        "dtype": {"f32", "bf16", "f16"},
        "group": {1, 2, 4},
        "signed": {False, True},
        "warps": {4, 8},
    }
    assert cover(blend, [], 0, fewest=0) == variants


def test_preferred_variants_come_first_and_count(blend: Kernel) -> None:
    preferred = [{"dtype": "bf16", "group": 4, "signed": True, "warps": 8}] * 2
    variants = cover(blend, preferred, 3, fewest=0)
    assert variants[0] == preferred[0]
    assert len(variants) == 3
    assert [variant["dtype"] for variant in variants].count("bf16") == 1


def test_constraints_hold_and_unreachable_values_are_left_out(make_kernel, blend: Kernel) -> None:
    text = (blend.folder / "kernel.yaml").read_text()
    text = text.replace(
        "constraints:", 'constraints:\n  - {that: "group < 4 and (not signed or dtype == bf16)", reason: "none"}'
    )
    kernel = make_kernel(text, (blend.folder / "reference.py").read_text())
    variants = cover(kernel, [], 0)
    assert values(variants)["group"] == {1, 2}
    assert all(not variant["signed"] or variant["dtype"] == "bf16" for variant in variants)
    assert {variant["signed"] for variant in variants} == {False, True}


def test_a_shipped_kernel_gets_its_cheapest_variant_too() -> None:
    kernel = find_kernel("attention/flash_decode", (shipped(),))
    variants = cover(kernel, [], 0)
    assert len(variants) == 6
    assert all(variant["q_heads"] % variant["kv_heads"] == 0 for variant in variants)
    assert {variant["head_dim"] for variant in variants} == {64, 128, 256, 512}
    cheapest = min(variants, key=lambda variant: least_steps(kernel, variant))
    assert (cheapest["q_heads"], cheapest["head_dim"]) == (8, 64)


def test_many_combinations_are_sampled(make_kernel, blend: Kernel) -> None:
    text = (blend.folder / "kernel.yaml").read_text().replace("domain: [4, 8]", f"domain: {list(range(1, 61))}")
    text = text.replace("domain: [1, 2, 4]", f"domain: {list(range(1, 200))}")
    kernel = make_kernel(text, (blend.folder / "reference.py").read_text())
    variants = cover(kernel, [], 0)
    assert values(variants)["group"] == set(range(1, 200))
    assert values(variants)["warps"] == set(range(1, 61))
    assert len(variants) < 220


def test_more_variants_meet_more_pairs(blend: Kernel) -> None:
    def pairs(count: int) -> int:
        variants = cover(blend, [], 0, fewest=count)
        return len({pair for variant in variants for pair in itertools.combinations(variant.items(), 2)})

    assert len(cover(blend, [], 0, fewest=6)) == 6
    assert pairs(0) < pairs(5) < pairs(9)
