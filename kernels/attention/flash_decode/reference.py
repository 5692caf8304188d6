"""Attention of one query token in float64: two matrix products per KV head, with the true maximum subtracted."""

from __future__ import annotations

import math

import numpy as np

_CHUNK = 16384  # tokens whose absolute values are held at a time
_PAGE = 16  # tokens that a block table keeps together


def reference(
    *,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    k_scale: np.ndarray,
    v_scale: np.ndarray,
    length: np.ndarray,
    block_table: np.ndarray,
    gate: np.ndarray,
    xq: np.ndarray,
    xs: np.ndarray,
    context: int,
    head_dim: int,
    dtype: str,
    cache: str,
    paged: bool,
    gated: bool,
    emit: bool,
) -> dict[str, np.ndarray]:
    """Return `out` [batch, q_heads, head_dim], and with `emit` the same quantised: see the kernel's header.

    `out_magnitude` is the condition of the result. With p the probabilities and a_t = sum_d |q_d k_td| / sqrt(head_dim)
    the size of what was summed into score t, a rounding of relative size u changes the result by at most
      u * sum_t p_t |v_t|                     where it happens in the numerator's sum over tokens,
      u * |out|                               where it happens in the denominator, and
      u * sum_t p_t a_t (|v_t| + |out|)       where it happens in the scores.
    The tolerance's coefficient counts the first; scores are rounded 26 times, so they weigh 26 over that.
    An f16 weight loses up to 2^-36 of the largest to subnormals: 2^-18 * max p * sum_t |v_t|, as 84 * 2^-24 > 2^-18.
    """
    batch, q_heads, _ = q.shape
    kv_heads = k.shape[2]
    group = q_heads // kv_heads
    lost = 2.0**-18 if dtype == "f16" else 0.0
    scored = 26.0 / (84.0 if dtype == "f16" else 210.0)
    scale = 1.0 / math.sqrt(head_dim)
    out = np.empty(q.shape)
    magnitude = np.empty(q.shape)
    for b in range(batch):
        tokens = min(int(length[b]), context)  # fewer than there were, where the checker leaves some out
        rows = np.arange(tokens)
        if paged:
            rows = block_table[b, rows // _PAGE] * _PAGE + rows % _PAGE
        taken = [
            array.reshape(-1, *array.shape[2:])[rows] if paged else array[b, :tokens]
            for array in ((k, v, k_scale, v_scale) if cache == "i8" else (k, v))
        ]
        keys, values = taken[:2]
        for h in range(kv_heads):
            heads = slice(h * group, (h + 1) * group)
            queries = q[b, heads] * scale
            of_key, of_value = (scales[:, h] for scales in taken[2:]) if cache == "i8" else np.ones((2, tokens))
            scores = queries @ keys[:, h].T * of_key
            probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            largest = probabilities.max(axis=1, keepdims=True)
            result = (probabilities * of_value) @ values[:, h]
            plain = np.zeros_like(result)
            amplified = np.zeros_like(result)
            mean_size = np.zeros((group, 1))
            for start in range(0, tokens, _CHUNK):
                part = slice(start, start + _CHUNK)
                sizes = np.abs(values[part, h]) * np.abs(of_value[part, None])
                p = probabilities[:, part]
                pa = p * (np.abs(queries) @ np.abs(keys[part, h]).T) * np.abs(of_key[part])
                plain += p @ sizes + lost * largest * sizes.sum(axis=0)
                amplified += pa @ sizes
                mean_size += pa.sum(axis=1, keepdims=True)
            out[b, heads] = result
            magnitude[b, heads] = plain + np.abs(result) + scored * (amplified + mean_size * np.abs(result))
    if gated:
        share = 1.0 / (1.0 + np.exp(-np.clip(gate[..., head_dim:], -700.0, None)))
        out, magnitude = out * share, magnitude * share
    if emit:
        xq, xq_error, xs, xs_error = quantised(out, magnitude)
    return {
        "out": out,
        "out_magnitude": magnitude,
        "xq": xq,
        "xq_magnitude": xq_error if emit else np.zeros(xq.shape),
        "xs": xs,
        "xs_magnitude": xs_error if emit else np.zeros(xs.shape),
    }


def quantised(out: np.ndarray, magnitude: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return what is rounded to integers and its condition; a scale for every 32 and its condition.

    Where the results of 32 all but cancel their error is large beside the largest, and an integer may be any.
    """
    blocks, sizes = (array.reshape(len(out), -1, 32) for array in (out, magnitude))
    largest = np.abs(blocks).max(axis=2, keepdims=True)
    largest[largest < 2.0**-100] = 0.0
    safe = np.where(largest > 0, largest, 1.0)
    quotient = np.where(largest > 0, 127.0 * blocks / safe, 0.0)
    most = sizes.max(axis=2, keepdims=True)
    error = (127.0 * sizes + np.abs(quotient) * most) / safe
    quotient, error = (array.reshape(len(out), -1) for array in (quotient, error))
    return quotient, error, largest[..., 0] / 127.0, most[..., 0] / 127.0
