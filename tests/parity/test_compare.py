"""Both sides on the CPU: equal builds agree in every bit, a planted contraction does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from specforge.check.prepare import build_hosts
from specforge.check.variants import Variant
from specforge.expressions import Scalar
from specforge.kernel.render import render
from specforge.parity.builds import Build, builds
from specforge.parity.cases import draw_cases
from specforge.parity.compare import Case, Outcome, Side, compare_cases, disagreements, summarise
from specforge.roots import shipped
from specforge.settings import Settings, read_settings
from specforge.spec.facts import load_device
from specforge.spec.interface import find_kernel
from specforge.verify.example import plan_example

DEVICE = load_device(shipped() / "specs" / "devices" / "h100_sxm.yaml").names
VARIANTS: dict[str, dict[str, Scalar]] = {
    "moe/router_topk": {"experts": 128, "top_k": 4, "dtype": "f32", "renormalise": True, "warps": 4},
    "attention/flash_decode": {
        "q_heads": 8,
        "kv_heads": 1,
        "head_dim": 64,
        "dtype": "f16",
        "cache": "f16",
        "paged": True,
        "gated": True,
        "emit": False,
        "warps": 4,
        "early": True,
    },
}
ORDINARY, PARITY = builds("9.0")


def quietly(done: int, total: int | None) -> None:
    """No progress is shown."""


@pytest.fixture(scope="module")
def host_settings(cache_dir: Path) -> Settings:
    return replace(read_settings(), state=cache_dir, cxx=None, jobs=2)


@pytest.fixture(scope="module")
def compare(host_settings) -> Callable[..., list[Outcome]]:
    """Cases of a shipped kernel, one build on the one side and another, under the same name, on the other.

    `planted` is replaced in the source of the first side.
    """

    def run(identity: str, there: Build, here: Build, count: int, planted=("", "")):
        kernel = find_kernel(identity, (shipped(),))
        variant = Variant(kernel, tuple(VARIANTS[identity].items()))
        right = render(kernel, VARIANTS[identity])
        assert planted[0] in right.text
        wrong = replace(right, text=right.text.replace(*planted)) if planted[0] else right
        sides = [
            Side("emulator", {here.name: build_hosts({variant: text}, host_settings, quietly, options=build.emulator)})
            for build, text in ((there, wrong), (here, right))
        ]
        drawn = draw_cases(kernel, [VARIANTS[identity]], count, seed=1, cap=2e7, device=DEVICE)
        cases = [Case(example, plan_example(kernel, example, DEVICE), variant) for _, example in drawn]
        return compare_cases(cases, sides[0], sides[1], jobs=2, progress=quietly)

    return run


@pytest.mark.parametrize("identity", VARIANTS)
@pytest.mark.parametrize("build", [ORDINARY, PARITY], ids=lambda build: build.name)
def test_equal_builds_agree(compare, identity, build):
    outcomes = compare(identity, build, build, 20)
    assert disagreements(outcomes) == []
    summary = summarise(build, outcomes)
    assert summary.agreed == len(outcomes) == 20
    assert all(output.elements > 0 and output.unequal == 0 and output.ulps == 0 for output in summary.outputs.values())
    assert 0 < summary.card_ratio <= 1


def test_a_contraction_on_one_side_is_found(compare):
    fused = replace(PARITY, emulator=(*PARITY.emulator, "-ffp-contract=fast"))
    outcomes = compare("moe/router_topk", fused, PARITY, 60)
    found = disagreements(outcomes)
    assert found, "the fused build gave the same bits"
    assert all(each.build == "parity" for each in found)
    assert "on the card and" in found[0].failure
    assert "seed: " in found[0].row
    assert summarise(PARITY, outcomes).agreed < len(outcomes)


def test_other_tensor_cores_are_found(compare):
    older = replace(PARITY, emulator=("-DSPECFORGE_PARITY=80",))
    assert disagreements(compare("attention/flash_decode", older, PARITY, 60))


def test_the_ordinary_build_need_not_agree_bit_for_bit(compare):
    """Rounded sums of products on one side, exact ones on the other: both within tolerance, and told apart."""
    outcomes = compare("attention/flash_decode", replace(PARITY, name="ordinary"), ORDINARY, 20)
    assert disagreements(outcomes) == []
    assert summarise(ORDINARY, outcomes).outputs["out"].unequal > 0


def test_a_result_out_of_tolerance_is_a_failure(compare):
    """Ordinary builds are judged against the reference: a wrong constant on one side is named with both values."""
    planted = ("= weight / total;", "= weight / total * 1.0001f;")
    found = disagreements(compare("moe/router_topk", ORDINARY, ORDINARY, 5, planted))
    assert found
    assert "on the card: weights[" in found[0].failure


def test_cases_are_distinct_and_the_same_again():
    kernel = find_kernel("moe/router_topk", (shipped(),))
    variants = [VARIANTS["moe/router_topk"]]
    first, again = (draw_cases(kernel, variants, 60, seed=7, cap=1e7, device=DEVICE) for _ in range(2))
    assert [example.to_row() for _, example in first] == [example.to_row() for _, example in again]
    assert len({example.to_row() for _, example in first}) == 60
    other = draw_cases(kernel, variants, 60, seed=8, cap=1e7, device=DEVICE)
    assert [example.to_row() for _, example in other] != [example.to_row() for _, example in first]


@pytest.mark.parametrize("identity", VARIANTS)
def test_the_parity_build_does_not_depend_on_the_schedule(host_settings, identity):
    from specforge.backend.worker import Worker
    from specforge.parity.case import CaseTask, run_builds

    kernel = find_kernel(identity, (shipped(),))
    variant = Variant(kernel, tuple(VARIANTS[identity].items()))
    (library,) = build_hosts(
        {variant: render(kernel, VARIANTS[identity])}, host_settings, quietly, options=PARITY.emulator
    ).values()
    drawn = draw_cases(kernel, [VARIANTS[identity]], 6, seed=2, cap=1e6, device=DEVICE)
    with Worker("emulator") as worker:
        for _, example in drawn:
            seen = set()
            for schedule in (0, 1, 17, 40_000):
                task = CaseTask(
                    plan_example(kernel, example, DEVICE),
                    replace(example, schedule=schedule),
                    {"parity": str(library)},
                    {},
                )
                outputs = worker.call(run_builds, task, timeout=60)["parity"]
                assert not isinstance(outputs, str), outputs
                seen.add(tuple(array.tobytes() for array in outputs.values()))
            assert len(seen) == 1
