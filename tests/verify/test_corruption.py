"""The checker is checked: shipped tolerances reject every corruption; loose ones are named with what they let pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from specforge.roots import shipped
from specforge.spec.geometry import Plan, Tolerance
from specforge.spec.interface import Kernel, find_kernel
from specforge.verify.corruption import EVERY, FLOATS, INTEGERS
from specforge.verify.example import Example, plan_example
from specforge.verify.trial import RIGHT, SWAPPED, Trial, check_tolerances, prepare

DEVICE = {"device.multiprocessors": 132}
FLASH = {
    "batch": 1,
    "q_heads": 8,
    "kv_heads": 2,
    "head_dim": 64,
    "context": 112,
    "dtype": "bf16",
    "cache": "bf16",
    "paged": False,
    "gated": False,
    "emit": False,
}
ROUTER = {"tokens": 5, "experts": 128, "top_k": 8, "dtype": "f32", "renormalise": False}


def tried(
    kernel: Kernel, parameters: dict, loosen: Callable[[Plan], Plan] = lambda plan: plan, **options: object
) -> list[Trial]:
    example = Example(parameters)
    case = loosen(plan_example(kernel, example, DEVICE))
    return check_tolerances(None, prepare(kernel, case, example, **options))


def shipped_kernel(identity: str) -> Kernel:
    return find_kernel(identity, (shipped(),))


def survivors(trials: list[Trial]) -> dict[tuple[str, str], Trial]:
    return {(trial.output, trial.corruption): trial for trial in trials if trial.outcome == "survived"}


def loosened(output: str, tolerance: Tolerance) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, tolerances={**plan.tolerances, output: tolerance})


@pytest.mark.parametrize(("identity", "parameters"), [("attention/flash_decode", FLASH), ("moe/router_topk", ROUTER)])
def test_shipped_tolerances_reject_every_corruption(identity: str, parameters: dict) -> None:
    trials = tried(shipped_kernel(identity), parameters)
    assert survivors(trials) == {}
    assert {trial.outcome for trial in trials} == {"rejected", "idle"}
    assert all(trial.reason for trial in trials if trial.outcome == "idle")
    assert all(trial.ratio > 1 for trial in trials if trial.outcome == "rejected")


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
@pytest.mark.parametrize(("head_dim", "context"), [(64, 32768), (256, 8192), (512, 4096)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_dropped_split_and_bf16_sums_are_rejected_at_length(
    head_dim: int, context: int, dtype: str, seed: int
) -> None:
    parameters = {**FLASH, "kv_heads": 1, "head_dim": head_dim, "context": context, "dtype": dtype, "cache": dtype}
    kernel, example = shipped_kernel("attention/flash_decode"), Example(parameters, seed=seed)
    case = plan_example(kernel, example, DEVICE)
    trials = {
        trial.corruption: trial
        for trial in check_tolerances(None, prepare(kernel, case, example, least=False, only="context"))
        if trial.output == "out"
    }
    assert trials[f"{context // 256} of context={context:,} left out"].ratio > 20
    assert trials[f"sums over context={context:,} held in bf16"].ratio > 1.4


def test_a_generous_tolerance_lets_scaling_pass_and_says_what_would_reject_it() -> None:
    trials = tried(shipped_kernel("attention/flash_decode"), FLASH, loosened("out", Tolerance(False, relative=0.51)))
    found = survivors(trials)
    assert {"everything x0.5", "everything x1.5"} <= {name for _, name in found}
    trial = found["out", "everything x0.5"]
    assert 0.9 < trial.ratio < 1
    assert re.match(r"out\[batch=0, q_heads=\d+, head_dim=\d+\] \S+ for \S+, \S+ allowed", trial.reason)
    needed = float(re.search(r"`relative` below (\S+), where it is 0.51", trial.cure)[1])
    again = tried(
        shipped_kernel("attention/flash_decode"), FLASH, loosened("out", Tolerance(False, relative=needed * 0.999))
    )
    assert ("out", "everything x0.5") not in survivors(again)


def test_an_absolute_tolerance_above_the_data_lets_everything_but_nan_pass() -> None:
    trials = tried(shipped_kernel("attention/flash_decode"), FLASH, loosened("out", Tolerance(False, absolute=100.0)))
    names = {name for _, name in survivors(trials)}
    assert {*EVERY, *FLOATS} - {"one row NaN", "an unwritten tail"} <= names
    # one of 256 parts is a page at the least
    assert {"16 of context=112 left out", "sums over context=112 held in bf16"} <= names


def test_integers_have_corruptions_of_their_own() -> None:
    kernel = shipped_kernel("moe/router_topk")
    found = survivors(tried(kernel, ROUTER, loosened("ids", Tolerance(False, absolute=1000.0))))
    assert {*EVERY, *INTEGERS, "8 of experts=128 left out"} <= {name for output, name in found if output == "ids"}


def test_at_a_tie_no_tolerance_tells_one_whole_number_from_the_next(
    make_kernel: Callable[[str, str], Kernel], blend: Kernel
) -> None:
    declared = (blend.folder / "kernel.yaml").read_text().replace("best: exact", "best: {conditioned: 0.5}")
    text = "import numpy as np\n\ndef reference(*, x, scale):\n    zero = np.zeros(len(x))\n"
    text += "    return {'out': x, 'out_magnitude': abs(x), 'best': zero + 4.5, 'best_magnitude': zero}\n"
    parameters = {"rows": 2, "width": 3, "dtype": "bf16", "group": 1, "signed": True}
    found = survivors(tried(make_kernel(declared, text), parameters))
    assert "either neighbour of a tie is right" in found["best", "off by one"].cure


def test_the_last_choice_swapped_with_the_next() -> None:
    kernel = shipped_kernel("moe/router_topk")
    (trial,) = (trial for trial in tried(kernel, ROUTER) if trial.corruption == SWAPPED)
    assert (trial.outcome, trial.output) == ("rejected", "ids, weights")

    def loosen(plan: Plan) -> Plan:
        wide = Tolerance(False, absolute=1000.0)
        return replace(plan, tolerances={"ids": wide, "weights": wide})

    assert survivors(tried(kernel, ROUTER, loosen))["ids, weights", SWAPPED].ratio > 0


def test_a_dropped_expert_that_changes_the_weights_alone() -> None:
    """The ids would give it away, so each output is judged with the others right."""
    kernel = shipped_kernel("moe/router_topk")
    found = survivors(tried(kernel, ROUTER, loosened("weights", Tolerance(False, relative=0.2, absolute=0.2))))
    assert ("weights", "8 of experts=128 left out") in found
    assert ("ids", "8 of experts=128 left out") not in found


def test_a_tolerance_that_nothing_can_meet_is_named() -> None:
    trials = tried(shipped_kernel("attention/flash_decode"), FLASH, loosened("out", Tolerance(False, relative=1e-9)))
    assert survivors(trials)["out", RIGHT].ratio > 1


def test_what_does_not_apply_is_listed_with_its_reason() -> None:
    trials = tried(shipped_kernel("moe/router_topk"), {**ROUTER, "tokens": 1})
    idle = {(trial.output, trial.corruption): trial.reason for trial in trials if trial.outcome == "idle"}
    assert idle["weights", "rows permuted"] == "there is one row"
    assert idle["weights", "off by one"] == "it holds floating-point numbers"
    assert idle["ids", "sums over experts=128 held in bf16"] == "it holds whole numbers"
    names = {*EVERY, *FLOATS, *INTEGERS}
    for output in ("ids", "weights"):
        assert names <= {trial.corruption for trial in trials if trial.output == output}


UPDATED = """\
specforge: 1
kernel: blend
summary: Every row's state, shrunk, plus the key times the value; and the state times the query.
template: kernel.cu.j2
reference: reference.py
parameters:
  rows: {type: int, bind: launch, domain: "1..64"}
  keys: {type: int, bind: launch, domain: "8..256"}
tensors:
  key:   {shape: [rows, keys], dtype: f32, role: in}
  query: {shape: [rows, keys], dtype: f32, role: in}
  value: {shape: [rows], dtype: f32, role: in}
  state: {shape: [rows, keys], dtype: f32, role: inout}
  out:   {shape: [rows], dtype: f32, role: out, rows: [0]}
launches:
  - {entry: blend, grid: [rows], block: [32], args: [key, query, value, state, out, keys]}
work: {bytes: "keys", flops: "keys"}
emulation: {steps: "rows * keys"}
reductions:
  keys: {axes: {key: 1, query: 1, state: 1}}
tolerance:
  state: {conditioned: "4 * roundoff(f32)"}
  out: {conditioned: "16 * roundoff(f32)"}
"""
UPDATED_REFERENCE = '''\
"""In float64."""

import numpy as np


def reference(*, key, query, value, state):
    new = 0.5 * state + key * value[:, None]
    size = 0.5 * np.abs(state) + np.abs(key * value[:, None])
    total, most = (new * query).sum(axis=1), (size * np.abs(query)).sum(axis=1)
    return {"state": new, "state_magnitude": size, "out": total, "out_magnitude": most}
'''


def test_what_is_updated_in_place_must_not_stay_as_it_was(make_kernel: Callable) -> None:
    kernel = make_kernel(UPDATED, UPDATED_REFERENCE)
    trials = tried(kernel, {"rows": 3, "keys": 100})
    assert survivors(trials) == {}
    found = {(trial.output, trial.corruption): trial for trial in trials}
    for name in ("a stale output", "an unwritten tail", "all zeros", "rows permuted"):
        assert found["state", name].outcome == "rejected"
    assert found["state", "a part of keys left out"].reason == "it has this axis itself"
    assert found["out", "7 of keys=100 left out"].outcome == "rejected"
    wide = {"state": Tolerance(False, absolute=10.0)}
    loose = tried(kernel, {"rows": 3, "keys": 100}, lambda plan: replace(plan, tolerances=plan.tolerances | wide))
    assert {("state", "a stale output"), ("state", "an unwritten tail")} <= set(survivors(loose))


def test_what_the_reference_leaves_alone_cannot_be_stale(make_kernel: Callable) -> None:
    still = UPDATED_REFERENCE.replace("0.5 * state + key * value[:, None]", "state")
    trials = tried(make_kernel(UPDATED, still), {"rows": 3, "keys": 100})
    idle = {trial.corruption: trial.reason for trial in trials if trial.output == "state" and trial.outcome == "idle"}
    assert idle["a stale output"] == "it leaves this output as it is"
    assert idle["an unwritten tail"] == "the reference changes nothing"


PACKED = """\
specforge: 1
kernel: blend
summary: A row of weights, two to a byte, with a scale for each 32, times x.
template: kernel.cu.j2
reference: reference.py
parameters:
  rows: {type: int, bind: launch, domain: "1..4096"}
  k:    {type: int, bind: launch, domain: "32..65536"}
constraints:
  - {that: "k % 32 == 0", reason: "whole groups"}
tensors:
  w:     {shape: [rows, "k // 2"], dtype: u8, role: in}
  scale: {shape: [rows, "k // 32"], dtype: f32, role: in}
  x:     {shape: [k], dtype: f32, role: in}
  y:     {shape: [rows], dtype: f32, role: out, rows: [0]}
launches:
  - {entry: blend, grid: [rows], block: [32], args: [w, scale, x, y, k]}
work: {bytes: "k", flops: "k"}
emulation: {steps: "rows * k"}
tolerance:
  y: {conditioned: "{COEFFICIENT} * roundoff(f32)"}
"""
PACKED_REFERENCE = '''\
"""In float64."""

import numpy as np


def reference(*, w, scale, x):
    low, high = w % 16 - 8, w // 16 - 8
    whole = np.stack([low, high], axis=-1).reshape(len(w), -1) * np.repeat(scale, 32, axis=1)
    return {"y": whole @ x, "y_magnitude": np.abs(whole) @ np.abs(x)}
'''


def test_packed_axes_are_cut_where_groups_end(make_kernel: Callable) -> None:
    kernel = make_kernel(PACKED.replace("{COEFFICIENT}", "(k / 32 + 8)"), PACKED_REFERENCE)
    trials = {trial.corruption: trial for trial in tried(kernel, {"rows": 6, "k": 2048})}
    assert trials["128 of k=2,048 left out"].outcome == "rejected"
    assert trials["the last 32 of k=2,048 left out"].outcome == "rejected"
    assert trials["sums over k=2,048 held in bf16"].outcome == "rejected"


def test_a_bf16_accumulator_passes_a_tolerance_made_for_one(make_kernel: Callable) -> None:
    loose = make_kernel(PACKED.replace("{COEFFICIENT}", "65536"), PACKED_REFERENCE)
    trials = {trial.corruption: trial for trial in tried(loose, {"rows": 6, "k": 2048})}
    assert trials["sums over k=2,048 held in bf16"].outcome == "survived"
    assert "`conditioned` below" in trials["sums over k=2,048 held in bf16"].cure
    told = "reductions:\n  k: {accumulator: bf16}\n"
    kernel = make_kernel(PACKED.replace("{COEFFICIENT}", "65536") + told, PACKED_REFERENCE)
    trials = {trial.corruption: trial for trial in tried(kernel, {"rows": 6, "k": 2048})}
    assert trials["sums over k=2,048 held in bf16"].outcome == "idle"


def test_an_axis_that_shapes_do_not_show_is_told(make_kernel: Callable, blend: Kernel) -> None:
    parameters = {"rows": 4, "width": 64, "dtype": "f32", "group": 1, "signed": False}
    assert not [trial for trial in tried(blend, parameters) if "left out" in trial.corruption]
    text = blend.document.path.read_text()
    kernel = make_kernel(text + "reductions:\n  sum: {axes: {x: 1}}\n", blend.reference.read_text())
    reasons = {trial.corruption: trial.reason for trial in tried(kernel, parameters) if trial.outcome == "idle"}
    assert "shape (4, 60)" in reasons["4 of sum=64 left out"]


def test_bf16_sums_are_as_wrong_as_a_bf16_accumulator_makes_them() -> None:
    """The simulation against one: dot products in chains of 16-term products, a chain for each part."""
    import ml_dtypes

    from specforge.verify.accumulator import bf16_error
    from specforge.verify.reduction import Gap

    rng = np.random.default_rng(5)
    terms = rng.standard_normal((2000, 4096))
    parts = terms.reshape(2000, 16, 16, 16).sum(axis=3)  # 16 parts of 16 products of 16 terms
    held = np.zeros((2000, 16))
    for step in range(16):
        held = (held + parts[:, :, step]).astype(ml_dtypes.bfloat16).astype(np.float64)
    real = held.sum(axis=1) - terms.sum(axis=1)
    want = terms.sum(axis=1)
    without = [want - terms[:, 256 * part : 256 * part + 256].sum(axis=1) for part in (0, 8, 15)]
    gap = Gap("k", 4096, 256, 1, None, {}, "f32")
    simulated = bf16_error(want[None], [less[None] for less in without], gap, (0,))
    assert 0.4 < simulated.std() / real.std() < 1
