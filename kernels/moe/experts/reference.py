"""Routed experts in float64: a plain loop over tokens and their experts, nothing quantised on the way."""

from __future__ import annotations

import numpy as np

# In units of the tolerance's coefficient, 13 roundoffs of f32: half a step of 16-bit integers that reach to 32512, and
# what the product that is rounded to an integer may add by its own rounding.
_STEP = 0.51 / 32512 / (13 * 2.0**-24)


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
    shared: bool,
) -> dict[str, np.ndarray]:
    """Return `out` [tokens, hidden], and with `out_magnitude` how far roundings on the way may move it.

    One unit is 13 roundings of f32. With s(r) the size of what is summed into an element r of a product (`_product`),
      g and u err by s(g) and s(u);
      h = silu(g) u by 1.1 |u| s(g) + |silu(g)| s(u) + |h|, as silu is no steeper than 1.1;
      h as integers by half a step of its 16 elements' scale;
      down by |down| . (the error of h) and, added up over experts too, by twice the size of its own sums;
      the sigmoid by twice the size of its own sum, times its slope, and by itself;
      the residual by itself: at most 10 more roundings.
    """
    x = xq * np.repeat(xs, 32, axis=1)
    out = residual.copy()
    magnitude = np.abs(residual)
    for token, row in enumerate(x):
        parts = [
            (weight, 2.0 * weight, gate[expert], up[expert], down[expert])
            for expert, weight in zip(ids[token], weights[token], strict=True)
        ]
        if shared:
            logit, size = shared_router @ row, np.abs(shared_router) @ np.abs(row)
            share = 1.0 / (1.0 + np.exp(-np.clip(logit, -700.0, 700.0)))
            parts.append((share, share * (2.0 + 2.0 * size * (1.0 - share)), shared_gate, shared_up, shared_down))
        for weight, weight_size, its_gate, its_up, its_down in parts:
            g, g_size = _product(its_gate, row)
            u, u_size = _product(its_up, row)
            slope = 1.0 / (1.0 + np.exp(-np.clip(g, -700.0, 700.0)))
            h = g * slope * u
            chunks = np.abs(h).reshape(-1, 16).max(axis=1)
            h_error = 1.1 * np.abs(u) * g_size + np.abs(g * slope) * u_size + np.abs(h) + _STEP * np.repeat(chunks, 16)
            y, y_size = _product(its_down, h)
            out[token] += weight * y
            magnitude[token] += np.abs(weight) * (np.abs(its_down) @ h_error) + np.abs(weight_size) * y_size
    return {"out": out, "out_magnitude": magnitude}


def _product(matrix: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix times vector, and the size of the floats that are summed: 16 elements at a time are summed as integers.

    Where a value is a scaled q less a minimum, v = a - b, the two are summed apart, and a as large as v and b together:
    |sum of a x| <= |sum of v x| + |b| |sum of x|. Of 32 random q from 0 to 15 that share a minimum one is 0, or next to
    0, so that |b| is at most 5/4 of the largest |v|.
    """
    values = matrix.reshape(len(matrix), -1, 2, 16)
    x = vector.reshape(-1, 2, 16)
    sums = np.einsum("rkhe,khe->rkh", values, x)
    minima = 1.25 * np.abs(values).max(axis=(2, 3)) @ np.abs(x.sum(axis=2)).sum(axis=1)
    return sums.sum(axis=(1, 2)), np.abs(sums).sum(axis=(1, 2)) + 2.0 * minima
