"""A copy."""

from __future__ import annotations

import numpy as np


def reference(*, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return `x` [tiles, 4096] itself."""
    return {"out": x}
