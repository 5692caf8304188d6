"""Rows of the embedding, which arrives decoded."""

from __future__ import annotations

import numpy as np


def reference(*, id: np.ndarray, embedding: np.ndarray) -> dict[str, np.ndarray]:
    """Return `x` [tokens, hidden]: row `id[t]` of `embedding` [vocabulary, hidden] for token t."""
    return {"x": embedding[id]}
