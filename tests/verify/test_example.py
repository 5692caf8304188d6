"""Running one example: what each kind of result looks like."""

from __future__ import annotations

import numpy as np
import pytest

from specforge.backend.runner import KernelFault
from specforge.spec.interface import Kernel
from specforge.verify.example import Example, bindings, plan_example, run_example

EXAMPLE = Example({"rows": 4, "width": 65, "dtype": "bf16", "group": 2, "signed": True}, seed=7)


def run(blend: Kernel, runner: object, example: Example = EXAMPLE):
    return run_example(runner, (plan_example(blend, example, {}), "binary", example))


def test_a_right_run(blend: Kernel, blend_runner) -> None:
    result = run(blend, blend_runner())
    assert (result.kind, result.passed, result.failure) == ("ok", True, None)
    assert [error.output for error in result.errors] == ["out", "best"]
    assert 0 < result.ratio <= 1


def test_inputs_follow_the_example(blend: Kernel, blend_runner) -> None:
    seen = []

    class Listening(blend_runner):
        def run(self, plan, binary, inputs, *, schedule=0, offset=0):
            seen.append((inputs["x"].tobytes(), inputs["scale"].tobytes(), schedule, offset))
            return super().run(plan, binary, inputs, schedule=schedule, offset=offset)

    same = Example(EXAMPLE.parameters, {"splits": 3}, {"scale": "constant"}, 7, 5, 32)
    for example in (EXAMPLE, same, Example(EXAMPLE.parameters, seed=8)):
        run(blend, Listening(), example)
    assert seen[0][0] == seen[1][0] != seen[2][0]
    assert seen[0][1] != seen[1][1]
    assert seen[1][2:] == (5, 32)


def test_wrong_outputs_are_all_named(blend: Kernel, blend_runner) -> None:
    def fault(plan, outputs, schedule) -> None:
        outputs["out"][3, 64] = 100
        outputs["best"][0] = -1

    result = run(blend, blend_runner(fault=fault))
    assert result.kind == "wrong"
    assert "is 100, the reference says" in result.failure
    assert "was never written" in result.failure.split("; best[")[1]


def test_violations_count_more_than_outputs(blend: Kernel, blend_runner) -> None:
    result = run(blend, blend_runner(fault=lambda *_: ("input x was changed", "8 bytes past the end of out")))
    assert (result.kind, result.failure) == ("violation", "input x was changed; 8 bytes past the end of out")


def test_faults(blend: Kernel, blend_runner) -> None:
    def fail(*_: object) -> None:
        raise KernelFault("race", "two threads write smem[3]")

    assert run(blend, blend_runner(fault=fail)).failure == "race: two threads write smem[3]"

    def ruin(*_: object) -> None:
        raise KernelFault("illegal access", "", poisoned=True)

    with pytest.raises(KernelFault):
        run(blend, blend_runner(fault=ruin))


def test_bindings_and_plan(blend: Kernel) -> None:
    example = Example(EXAMPLE.parameters, {"warps": 8})
    assert bindings(blend, example, {}) == {"dtype": "bf16", "group": 2, "signed": True, "warps": 8}
    plan = plan_example(blend, example, {})
    assert plan.tunables == {"splits": 1, "warps": 8}
    assert np.prod(plan.buffer("out").shape) == 4 * 65
