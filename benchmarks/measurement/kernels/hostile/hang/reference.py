"""A copy."""

from __future__ import annotations

import numpy as np


def reference(*, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return `x` [n] itself."""
    return {"out": x}
