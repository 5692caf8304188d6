"""flash_decode's quantised output is held to what its error allows, at long contexts too."""

from __future__ import annotations

import numpy as np
import pytest

from specforge.roots import shipped
from specforge.spec.geometry import plan
from specforge.spec.interface import find_kernel
from specforge.verify.compare import OutputError, judge, stored
from specforge.verify.example import Example, draw_inputs
from specforge.verify.reference import call_reference

CASE = {"batch": 1, "q_heads": 8, "kv_heads": 1, "head_dim": 128, "context": 32768, "dtype": "bf16", "cache": "bf16"}
CASE |= {"paged": False, "gated": False, "emit": True}
PLAN = plan(find_kernel("attention/flash_decode", (shipped(),)), CASE, {"splits": 128, "warps": 4, "early": False})


@pytest.fixture(scope="module")
def want() -> dict[str, np.ndarray]:
    """The reference's results."""
    return call_reference(PLAN, draw_inputs(PLAN, Example(CASE, seed=5)))


def judged(want: dict[str, np.ndarray], xq: np.ndarray) -> OutputError:
    """What comparing says of whole numbers in the place of xq, all else being right."""
    got = {buffer.name: stored(buffer, want) for buffer in PLAN.buffers if buffer.is_judged}
    (error,) = [one for one in judge(PLAN, got | {"xq": xq.astype(np.int8)}, want) if one.output == "xq"]
    return error


def test_the_nearest_whole_numbers_are_right(want: dict[str, np.ndarray]) -> None:
    assert judged(want, np.rint(want["xq"])).ratio == 0


def test_an_error_within_the_tolerance_may_tip_a_rounding(want: dict[str, np.ndarray]) -> None:
    error = PLAN.tolerances["xq"].conditioned * want["xq_magnitude"]
    tipped = np.rint(np.clip(want["xq"] + 0.9 * error, -127, 127))
    assert (tipped != np.rint(want["xq"])).any()
    assert judged(want, tipped).passed


@pytest.mark.parametrize("wrong", [np.trunc, np.floor, lambda x: np.rint(x / 4) * 4, lambda x: np.rint(x) + (x > 0)])
def test_other_roundings_and_coarser_steps_are_wrong(want: dict[str, np.ndarray], wrong) -> None:
    assert judged(want, np.clip(wrong(want["xq"]), -127, 127)).ratio > 1
