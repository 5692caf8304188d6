"""Softmax in float64."""

from __future__ import annotations

import numpy as np


def reference(*, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the softmax of the rows of `x` [rows, width], and its size times its sensitivity to rounded exponents."""
    shifted = x - x.max(axis=1, keepdims=True)
    terms = np.exp(shifted)
    total = terms.sum(axis=1, keepdims=True)
    spread = (terms * np.abs(shifted)).sum(axis=1, keepdims=True) / total
    return {"out": terms / total, "out_magnitude": terms / total * (1.0 + np.abs(shifted) + spread)}
