"""Sums of every 1,024 words, exact in int64 and then wrapped to 32 bits."""

from __future__ import annotations

import numpy as np


def reference(*, source: np.ndarray, words: int) -> dict[str, np.ndarray]:
    """Return `sums` [words / 1024, rounded up] of `source` [words]."""
    sums = np.add.reduceat(source, np.arange(0, words, 1024))
    return {"sums": (sums + 2**31) % 2**32 - 2**31}
