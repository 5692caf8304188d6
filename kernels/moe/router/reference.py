"""A router in float64: logits, the ids of the largest, their softmax; and what rounded logits may do to those."""

from __future__ import annotations

import numpy as np

U = 2.0**-24


def reference(*, x: np.ndarray, w: np.ndarray, finished: np.ndarray, top_k: int, hidden: int) -> dict[str, np.ndarray]:
    """Return `logits` [tokens, experts] = x w^T, and `ids`, `weights` [tokens, top_k] of the largest.

    A logit of the kernel is off by at most `off`: the roundings of a sum of f32 products, or nothing where x and w are
    multiples of a quarter so small that f32 holds every sum of their products. The r-th largest of numbers that are
    off by at most `off` is off by at most that too, so place r may hold any expert within twice `off` of its logit:
    `ids_magnitude` is how far their ids lie from the right one, 0 as a rule. Equal logits that are exact have one
    order.
    """
    logits = x @ w.T
    sizes = np.abs(x) @ np.abs(w).T
    quarters = np.all(x * 4 == np.rint(x * 4)) and np.all(w * 4 == np.rint(w * 4)) and sizes.max() * 16 < 2**24
    off = np.zeros((len(x), 1)) if quarters else (hidden // 256 + 13) * U * sizes.max(axis=1, keepdims=True)

    ids = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]
    chosen = np.take_along_axis(logits, ids, axis=1)
    near = (np.abs(logits[:, None, :] - chosen[:, :, None]) <= 2 * off[:, :, None]) & (off[:, :, None] > 0)
    apart = np.abs(np.arange(logits.shape[1]) - ids[:, :, None]) * near

    below = chosen - chosen[:, :1]
    terms = np.exp(below)
    weights = terms / terms.sum(axis=1, keepdims=True)
    spread = (weights * np.abs(below)).sum(axis=1, keepdims=True)
    return {
        "finished": np.zeros_like(finished),
        "logits": logits,
        "logits_magnitude": sizes,
        "ids": ids.astype(np.int64),
        "ids_magnitude": apart.max(axis=2).astype(np.float64),
        "weights": weights,
        # Logits that are off by `off` change numerator and denominator by at most exp(off) each.
        "weights_magnitude": weights * (1.0 + np.abs(below) + spread + np.expm1(2 * off) / (13 * U)),
    }
