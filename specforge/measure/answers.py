"""References' answers kept on disk for the length of a run: every process checks against them, one computes them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from specforge.verify.reference import call_reference

if TYPE_CHECKING:
    from specforge.spec.geometry import Plan
    from specforge.verify.compare import Array


def answer(plan: Plan, inputs: dict[str, Array], drawn: str, folder: str | None) -> dict[str, Array]:
    """What the reference says to these inputs: read from `folder`, or computed and left there; None: just computed.

    `drawn` says how the inputs were drawn: with the plan's parameters it decides their values. Arrays are float64 or
    int64. Raises what `call_reference` raises.
    """
    import numpy as np

    if folder is None:
        return call_reference(plan, inputs)
    said = json.dumps([plan.kernel, plan.reference, plan.parameters, drawn], sort_keys=True)
    path = Path(folder) / f"{hashlib.sha256(said.encode()).hexdigest()}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    found = call_reference(plan, inputs)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:  # a killed worker leaves no half answer
        np.savez(file, **found)  # type: ignore[arg-type]  # numpy's stubs take the arrays for other parameters
    Path(file.name).replace(path)
    return found
