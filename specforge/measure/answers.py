"""References' answers kept on disk for the length of a run: every process checks against them, one computes them."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from specforge.backend.buffers import as_bytes
from specforge.verify.example import draw_inputs
from specforge.verify.reference import call_reference

if TYPE_CHECKING:
    from specforge.spec.geometry import BufferPlan, Plan
    from specforge.verify.compare import Array
    from specforge.verify.example import Example

FRESH_BYTES = 64 << 20
"""Hot inputs up to this size together get new values between the first check and the timing."""
KEPT_BYTES = 64 << 20
"""Answers up to this size are kept: of a copy's, writing and reading a file take longer than the reference."""
_FRESH = 0x5EED
"""Added to the seed for those new values."""


def is_kept(plan: Plan) -> bool:
    """Whether the answers to a case are small enough to be kept."""
    return 8 * sum(math.prod(buffer.shape) for buffer in plan.buffers if buffer.is_judged) <= KEPT_BYTES


def is_freshened(plan: Plan) -> bool:
    """Whether there are hot inputs, small enough to be given new values."""
    return 0 < sum(buffer.nbytes for buffer in _hot(plan)) <= FRESH_BYTES


def fresh_values(plan: Plan, example: Example) -> dict[str, Array]:
    """New values of the hot inputs, for after the first check; empty where there are none or they are too large."""
    if not is_freshened(plan):
        return {}
    return draw_inputs(plan, replace(example, seed=example.seed + _FRESH), [buffer.name for buffer in _hot(plan)])


def _hot(plan: Plan) -> list[BufferPlan]:
    return [buffer for buffer in plan.buffers if buffer.is_given and buffer.residency == "hot"]


def answer(plan: Plan, example: Example, folder: str | None, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the reference says to these inputs: as `recall`, or computed, and kept in `folder` where there is one.

    Raises what `call_reference` raises.
    """
    import numpy as np

    found = recall(plan, example, folder, inputs)
    if found is not None:
        return found
    found = call_reference(plan, inputs)
    if folder is not None and is_kept(plan):
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:  # a killed worker leaves no half answer
            np.savez(file, **found)  # type: ignore[arg-type]  # numpy's stubs take the arrays for other parameters
        Path(file.name).replace(_place(plan, example, folder, inputs))
    return found


def recall(plan: Plan, example: Example, folder: str | None, inputs: dict[str, Array]) -> dict[str, Array] | None:
    """What was kept in `folder` of the reference's answer to these inputs, float64 or int64; None where nothing was.

    `example` says how the inputs were drawn; those that may have been given other values since count by their bytes:
    hot ones, and what a chain or the kernel itself replaces.
    """
    import numpy as np

    if folder is None or not is_kept(plan):
        return None
    path = _place(plan, example, folder, inputs)
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _place(plan: Plan, example: Example, folder: str, inputs: dict[str, Array]) -> Path:
    other = {
        buffer.name: hashlib.sha256(as_bytes(inputs[buffer.name]).data).hexdigest()
        for buffer in plan.buffers
        if buffer.is_given and (buffer.residency == "hot" or buffer.name in (*plan.chain, *plan.updated))
    }
    said = json.dumps([plan.kernel, plan.reference, plan.parameters, example.to_row(), other], sort_keys=True)
    return Path(folder) / f"{hashlib.sha256(said.encode()).hexdigest()}.npz"
