"""Inputs of a case, kept on disk for the length of a run where they are large: every process needs the same."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from specforge.verify.example import draw_tensor

if TYPE_CHECKING:
    from specforge.spec.geometry import BufferPlan, Plan
    from specforge.verify.compare import Array
    from specforge.verify.example import Example

LEAST_BYTES = 1 << 20
"""Smaller tensors are drawn sooner than found."""
LEFT_BYTES = 16 << 30
"""So much of the disk stays free; what would take it is drawn anew by every process."""


def inputs_of(plan: Plan, example: Example, folder: str | None) -> dict[str, Array]:
    """What `draw_inputs` gives; large tensors are read from `folder`, or drawn and left there. Not to be written to."""
    return {
        buffer.name: draw_tensor(buffer, example)
        if folder is None or buffer.nbytes < LEAST_BYTES
        else _kept(buffer, example, Path(folder))
        for buffer in plan.buffers
        if buffer.is_given
    }


def _kept(buffer: BufferPlan, example: Example, folder: Path) -> Array:
    label = example.values.get(buffer.name, buffer.values[0])
    # All that drawing depends on, so that cases with the same tensor share it.
    said = repr((buffer.name, label, buffer.ranges.get(label), buffer.shape, buffer.dtype, example.seed))
    path = folder / f"{hashlib.sha256(said.encode()).hexdigest()}.npy"
    if not path.is_file():
        drawn = draw_tensor(buffer, example)
        if shutil.disk_usage(folder).free - drawn.nbytes < LEFT_BYTES:
            return drawn
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:  # a killed worker leaves no half tensor
            np.save(file, drawn)
        Path(file.name).replace(path)
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
