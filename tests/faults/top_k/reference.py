"""A stable sort."""

from __future__ import annotations

import numpy as np


def reference(*, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the places of the four largest in each row of `x` [rows, 32]."""
    return {"ids": np.argsort(-x, axis=1, kind="stable")[:, :4]}
