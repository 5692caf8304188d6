"""Attention of one query token in float64: two matrix products per KV head, with the true maximum subtracted."""

from __future__ import annotations

import math

import numpy as np

_CHUNK = 16384  # tokens whose absolute values are held at a time


def reference(*, q: np.ndarray, k: np.ndarray, v: np.ndarray, head_dim: int, dtype: str) -> dict[str, np.ndarray]:
    """Return `out` [batch, q_heads, head_dim] for q of that shape and k, v [batch, context, kv_heads, head_dim].

    `out_magnitude` is the condition of the result. With p the probabilities and a_t = sum_d |q_d k_td| / sqrt(head_dim)
    the size of what was summed into score t, a rounding of relative size u changes the result by at most
      u * sum_t p_t |v_t|                     where it happens in the numerator's sum over tokens,
      u * |out|                               where it happens in the denominator, and
      u * sum_t p_t a_t (|v_t| + |out|)       where it happens in the scores.
    The tolerance's coefficient counts the first; scores are rounded 28 times, so they weigh 28 over that.
    An f16 weight loses up to 2^-36 of the largest to subnormals: 2^-18 * max p * sum_t |v_t|, as 82 * 2^-24 > 2^-18.
    """
    batch, q_heads, _ = q.shape
    context, kv_heads = k.shape[1], k.shape[2]
    group = q_heads // kv_heads
    lost = 2.0**-18 if dtype == "f16" else 0.0
    scored = 28.0 / (82.0 if dtype == "f16" else 208.0)
    scale = 1.0 / math.sqrt(head_dim)
    out = np.empty(q.shape)
    magnitude = np.empty(q.shape)
    for b in range(batch):
        for h in range(kv_heads):
            heads = slice(h * group, (h + 1) * group)
            queries = q[b, heads] * scale
            scores = queries @ k[b, :, h].T
            probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            largest = probabilities.max(axis=1, keepdims=True)
            result = probabilities @ v[b, :, h]
            plain = np.zeros_like(result)
            amplified = np.zeros_like(result)
            mean_size = np.zeros((group, 1))
            for start in range(0, context, _CHUNK):
                part = slice(start, start + _CHUNK)
                sizes = np.abs(v[b, part, h])
                p = probabilities[:, part]
                pa = p * (np.abs(queries) @ np.abs(k[b, part, h]).T)
                plain += p @ sizes + lost * largest * sizes.sum(axis=0)
                amplified += pa @ sizes
                mean_size += pa.sum(axis=1, keepdims=True)
            out[b, heads] = result
            magnitude[b, heads] = plain + np.abs(result) + scored * (amplified + mean_size * np.abs(result))
    return {"out": out, "out_magnitude": magnitude}
