"""Router top-k in float64: a stable sort instead of rounds of maxima."""

from __future__ import annotations

import numpy as np


def reference(*, logits: np.ndarray, top_k: int, renormalise: bool) -> dict[str, np.ndarray]:
    """Return the ids and weights of the `top_k` largest of `logits` [tokens, experts].

    `weights_magnitude` is the weight times the sensitivity of a softmax to rounded exponents: an exponential of x is
    off by roundoff times (1 + |x|), and both the chosen term and every term of the denominator are exponentials.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    ids = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]
    terms = np.exp(shifted)
    chosen = np.take_along_axis(shifted, ids, axis=1)
    over = chosen if renormalise else shifted
    denominator = np.exp(over).sum(axis=1, keepdims=True)
    weights = np.take_along_axis(terms, ids, axis=1) / denominator
    spread = (np.exp(over) * np.abs(over)).sum(axis=1, keepdims=True) / denominator
    return {
        "ids": ids.astype(np.int64),
        "weights": weights,
        "weights_magnitude": weights * (1.0 + np.abs(chosen) + spread),
    }
