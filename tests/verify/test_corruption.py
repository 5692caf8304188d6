"""The checker is checked: shipped tolerances reject every corruption; loose ones are named with what they let pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specforge.roots import shipped
from specforge.spec.geometry import Plan, Tolerance
from specforge.spec.interface import find_kernel
from specforge.verify.corruption import EVERY, FLOATS, INTEGERS, RIGHT, check_tolerances
from specforge.verify.example import Example, plan_example

DEVICE = {"device.multiprocessors": 132}
FLASH = {"batch": 1, "q_heads": 8, "kv_heads": 2, "head_dim": 64, "context": 100, "dtype": "bf16"}
ROUTER = {"tokens": 5, "experts": 128, "top_k": 8, "dtype": "f32", "renormalise": True}


def planned(identity: str, parameters: dict) -> tuple[Plan, Example]:
    example = Example(parameters)
    return plan_example(find_kernel(identity, (shipped(),)), example, DEVICE), example


def survivors(plan: Plan, example: Example) -> dict[tuple[str, str], float]:
    found = check_tolerances(None, (plan, example))
    return {(survivor.output, survivor.corruption): survivor.ratio for survivor in found}


@pytest.mark.parametrize(("identity", "parameters"), [("attention/flash_decode", FLASH), ("moe/router_topk", ROUTER)])
def test_shipped_tolerances_reject_every_corruption(identity: str, parameters: dict) -> None:
    assert survivors(*planned(identity, parameters)) == {}


def loosened(plan: Plan, output: str, tolerance: Tolerance) -> Plan:
    return replace(plan, tolerances={**plan.tolerances, output: tolerance})


def test_a_generous_tolerance_lets_scaling_pass_and_says_how_far_it_is_off() -> None:
    plan, example = planned("attention/flash_decode", FLASH)
    found = survivors(loosened(plan, "out", Tolerance(False, relative=0.51)), example)
    assert {name for _, name in found} == {"everything x0.5", "everything x1.5"}
    assert all(0.9 < ratio < 1 for ratio in found.values())


def test_an_absolute_tolerance_above_the_data_lets_everything_but_nan_pass() -> None:
    plan, example = planned("attention/flash_decode", FLASH)
    found = survivors(loosened(plan, "out", Tolerance(False, absolute=100.0)), example)
    assert {name for _, name in found} == {*EVERY, *FLOATS} - {"one row NaN", "an unwritten tail"}


def test_integers_have_corruptions_of_their_own() -> None:
    plan, example = planned("moe/router_topk", ROUTER)
    found = survivors(loosened(plan, "ids", Tolerance(False, absolute=1000.0)), example)
    assert {name for output, name in found if output == "ids"} == {*EVERY, *INTEGERS}


def test_a_tolerance_that_nothing_can_meet_is_named() -> None:
    plan, example = planned("attention/flash_decode", FLASH)
    found = survivors(loosened(plan, "out", Tolerance(False, relative=1e-9)), example)
    assert found["out", RIGHT] > 1
