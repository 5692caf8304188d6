"""A copy; how long it takes is not for a reference to say."""

from __future__ import annotations

import numpy as np


def reference(*, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return `x` [32] itself."""
    return {"out": x}
