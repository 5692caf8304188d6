"""Routed experts in float64: a plain loop over tokens and their experts, nothing quantised on the way."""

from __future__ import annotations

import numpy as np

_MINIMA = ("q4_k", "q5_k")
# What each of a lane's four chunks meets there, in roundoffs of f32: its scales' product and a sum for itself and each
# chunk behind it; and by type d, and the conversion of a whole number beyond 2^24, as 16 products of q8_0 with h are.
_CHUNK = np.array([5.0, 4.0, 3.0, 2.0])
_D = {"q4_k": 1, "q5_k": 1, "q6_k": 1, "q8_0": 0}
_WHOLE = {"q4_k": 0, "q5_k": 0, "q6_k": 0, "q8_0": 1}
# Half a step of 16-bit integers that reach to 32512, and what the product that is rounded to one may add by its own.
_STEP = 0.51 / 32512 * 2.0**24
_DEVIATIONS = 8.0


def reference(
    *,
    xq: np.ndarray,
    xs: np.ndarray,
    ids: np.ndarray,
    weights: np.ndarray,
    gate: np.ndarray,
    up: np.ndarray,
    down: np.ndarray,
    shared_gate: np.ndarray,
    shared_up: np.ndarray,
    shared_down: np.ndarray,
    shared_router: np.ndarray,
    residual: np.ndarray,
    dtype: str,
    down_dtype: str,
    hidden: int,
    width: int,
    shared: bool,
) -> dict[str, np.ndarray]:
    """Return `out` [tokens, hidden], and with `out_magnitude` how many roundoffs of f32 the way there may move it.

    `_product` counts what happens to a row up to a lane's share. Beyond that
      g and u err by 5 of a butterfly and 1 for each pass beyond 2048 columns, of what the lanes hold;
      h = silu(g) u by 1.1 |u| (g's error) + |silu(g)| (u's), as silu is no steeper than 1.1, and by 9 of its own:
      2 of the exponential, 1 of the sum, 4 of the quotient, 1 of the product, 1 of the scale it is stored with;
      h as integers by half a step of its 16 elements' scale (`_rounded`);
      down by |down| . (the error of h), and by 1 for each unit and 2 of a butterfly, of what the lanes hold;
      the sigmoid by its own sum, times its slope, and by 7; weights by 1;
      what is added up by 1 for each expert that is added behind it, and 1 to spare.
    """
    x = xq * np.repeat(xs, 32, axis=1)
    slots = ids.shape[1] + shared
    out = residual.copy()
    magnitude = (slots + 1) * np.abs(residual)
    for token, row in enumerate(x):
        parts = [
            (weight, abs(weight), gate[expert], up[expert], down[expert])
            for expert, weight in zip(ids[token], weights[token], strict=True)
        ]
        if shared:
            logit, size = shared_router @ row, np.abs(shared_router) @ np.abs(row)
            share = 1.0 / (1.0 + np.exp(-np.clip(logit, -700.0, 700.0)))
            its_error = share * (7.0 + (14 + hidden // 256) * size * (1.0 - share))
            parts.append((share, share + its_error, shared_gate, shared_up, shared_down))
        for slot, (weight, weight_error, its_gate, its_up, its_down) in enumerate(parts):
            g, g_error = _product(its_gate, row, dtype, 0, 5 + (hidden - 1) // 2048)
            u, u_error = _product(its_up, row, dtype, 0, 5 + (hidden - 1) // 2048)
            slope = 1.0 / (1.0 + np.exp(-np.clip(g, -700.0, 700.0)))
            h = g * slope * u
            h_error = 1.1 * np.abs(u) * g_error + np.abs(g * slope) * u_error + 9.0 * np.abs(h)
            y, y_error = _product(its_down, h, down_dtype, _WHOLE[down_dtype], width // 256 + 1)
            out[token] += weight * y
            magnitude[token] += np.abs(weight) * (np.abs(its_down) @ h_error + _rounded(its_down, h) + y_error)
            magnitude[token] += (weight_error + (slots + 1 - slot) * np.abs(weight)) * np.abs(y)
    return {"out": out, "out_magnitude": magnitude}


def _product(
    matrix: np.ndarray, vector: np.ndarray, dtype: str, more: int, lanes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Matrix times vector, and its error in roundoffs: `more` for each chunk of 16, `lanes` for what lanes hold.

    Chunks are summed as integers; a lane has four, which lie 32 apart. Where a value is a scaled q less a minimum,
    v = a - b, the two are summed apart, and a as large as v and b together:
    |sum of a x| <= |sum of v x| + |b| |sum of x|. Of 32 random q from 0 to 15 that share a minimum one is 0, or next to
    0, so that |b| is at most 5/4 of the largest |v|.
    """
    values = matrix.reshape(len(matrix), -1, 2, 16)
    x = vector.reshape(-1, 2, 16)
    sums = np.einsum("rkhe,khe->rkh", values, x)
    count = np.resize(_CHUNK, len(x)) + (more + _D[dtype])
    errors = np.abs(sums).sum(axis=2) @ count
    if dtype in _MINIMA:
        errors += 2.5 * np.abs(values).max(axis=(2, 3)) @ (np.abs(x.sum(axis=2)).sum(axis=1) * count)
        lanes += 1  # the difference
    ends = np.arange(0, len(x), 4)
    errors += lanes * np.abs(np.add.reduceat(sums, ends, axis=1)).sum(axis=(1, 2))
    return sums.sum(axis=(1, 2)), errors


def _rounded(down: np.ndarray, h: np.ndarray) -> np.ndarray:
    """What half a step of every h adds up to in each row of down.

    Roundings of different values are independent, each evenly spread over a step: 8 standard deviations of their sum
    are passed once in 10^13. Equal values are rounded alike, and count as one.
    """
    most = np.repeat(np.abs(h).reshape(-1, 16).max(axis=1), 16)
    step = np.where(h < 0, -_STEP, _STEP) * most
    linear = np.abs(down) @ np.abs(step)
    places = np.divide(np.abs(h), most, out=np.zeros_like(h), where=most > 0)
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=-1.0) > 1e-9)
    if len(starts) < len(h) // 8 * 7:  # more than the largest of 16 each, which are exact: equal ones move as one
        squares = (np.add.reduceat(down[:, order] * step[order], starts, axis=1) ** 2).sum(axis=1)
    else:
        squares = np.square(down) @ np.square(step)
    return np.minimum(linear, _DEVIATIONS / 3**0.5 * np.sqrt(squares))
