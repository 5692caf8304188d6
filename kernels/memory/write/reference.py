"""The place of every word, xor a key."""

from __future__ import annotations

import numpy as np


def reference(*, key: np.ndarray, words: int) -> dict[str, np.ndarray]:
    """Return `target` [words]."""
    return {"target": np.arange(words) ^ key[0]}
