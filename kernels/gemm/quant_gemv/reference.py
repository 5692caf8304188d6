"""Matrix times activations in float64, both decoded."""

from __future__ import annotations

import numpy as np


def reference(*, weights: np.ndarray, xq: np.ndarray, xs: np.ndarray) -> dict[str, np.ndarray]:
    """Return `y` [tokens, rows] for `weights` [rows, columns], decoded, and activations `xs` times `xq`.

    `y_magnitude` is the size of what was summed. A value of a block may be the difference of larger terms: so
    the largest of the 32 that share a scale stands for each of them.
    """
    rows, columns = weights.shape
    x = xq * np.repeat(xs, 32, axis=1)
    largest = np.abs(weights).reshape(rows, columns // 32, 32).max(axis=2)
    sizes = np.abs(x).reshape(len(x), columns // 32, 32).sum(axis=2)
    return {"y": x @ weights.T, "y_magnitude": sizes @ largest.T}
