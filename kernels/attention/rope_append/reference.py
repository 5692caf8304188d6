"""Norm, rotation and KV append in float64, head by head, with what each rounding of the kernel may do to the result.

`_magnitude`s are bounds in units of f32's roundoff u, to first order; rsqrt counts 4 (2 ulp). Of an int8 the magnitude
is 1 where an error of that size may round it to its other neighbour, else 0.
"""

from __future__ import annotations

import numpy as np

EPSILON = 1e-6
LEAST = 2.0**-100  # a head below it is quantised as zeros
UNIT = 2.0**-24


def reference(
    *,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    position: np.ndarray,
    q_norm: np.ndarray,
    k_norm: np.ndarray,
    inv_freq: np.ndarray,
    block_table: np.ndarray,
    k_cache: np.ndarray,
    v_cache: np.ndarray,
    k_scale: np.ndarray,
    v_scale: np.ndarray,
    capacity: int,
    head_dim: int,
    cache: str,
    paged: bool,
) -> dict[str, np.ndarray]:
    """Return the rotated queries and the caches with one more token: see the kernel's header."""
    angles = position[:, None, None] * inv_freq  # of f32 numbers: exact in float64
    queries, queries_err = rotated(*normalised(q[..., :head_dim], q_norm), angles)
    keys, keys_err = rotated(*normalised(k, k_norm), angles)
    rows, at = np.arange(len(q)), position.astype(np.int64) % capacity
    if paged:  # places of the pool, as rows of sequences and places in them
        rows, at = np.divmod(block_table[rows, at // 16] * 16 + at % 16, capacity)
    place = rows, at
    k_after, k_tolerance, k_largest, k_largest_err = appended(k_cache, place, keys, keys_err, cache)
    v_after, v_tolerance, v_largest, v_largest_err = appended(v_cache, place, v, np.zeros(v.shape), cache)
    if cache == "i8":
        k_scale, v_scale = k_scale.copy(), v_scale.copy()
        k_scale[place], v_scale[place] = k_largest / 127, v_largest / 127
    scale_errs = np.zeros((2, *k_scale.shape))
    scale_errs[0][place] = k_largest_err / 127 + 2 * np.abs(k_scale[place])
    scale_errs[1][place] = v_largest_err / 127 + 2 * np.abs(v_scale[place])
    return {
        "q_out": queries,
        "q_out_magnitude": queries_err,
        "k_cache": k_after,
        "k_cache_magnitude": k_tolerance,
        "v_cache": v_after,
        "v_cache_magnitude": v_tolerance,
        "k_scale": k_scale,
        "k_scale_magnitude": scale_errs[0] if cache == "i8" else np.zeros(k_scale.shape),
        "v_scale": v_scale,
        "v_scale_magnitude": scale_errs[1] if cache == "i8" else np.zeros(v_scale.shape),
    }


def appended(
    before: np.ndarray, place: tuple[np.ndarray, np.ndarray], new: np.ndarray, new_err: np.ndarray, cache: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the cache with one more row, what its elements may err by, the row's largest magnitude and its error."""
    after, magnitude = before.copy(), np.zeros(before.shape)
    largest, largest_err = (array.max(axis=-1, keepdims=True) for array in (np.abs(new), new_err))
    if cache == "i8":
        largest = np.where(largest < LEAST, 0.0, largest)
        safe = np.where(largest > 0, largest, 1.0)
        quotient = np.where(largest > 0, 127 * new / safe, 0.0)
        error = UNIT * (127 * (new_err + np.abs(new) / safe * largest_err) / safe + 6 * np.abs(quotient))
        after[place] = np.rint(quotient)
        magnitude[place] = np.abs(quotient - np.floor(quotient) - 0.5) <= error
        after = after.astype(np.int64)
    else:
        after[place], magnitude[place] = new, new_err
    return after, magnitude, largest[..., 0], largest_err[..., 0]


def normalised(x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Return each head over its root mean square, times the weight, and its relative error.

    Half of: 8 squares in a lane, 5 steps over the warp, mean and epsilon; then the root, and two products.
    """
    mean = (x * x).mean(axis=-1, keepdims=True) + EPSILON
    return x / np.sqrt(mean) * weight, 15 / 2 + 4 + 2


def rotated(x: np.ndarray, relative: float, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each head with its first elements rotated, and the error: sine and cosine 4 units, products and sum 2."""
    half = angles.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cosine, sine = np.cos(angles), np.sin(angles)
    sizes = [
        np.abs(one) * np.abs(cosine) + np.abs(other) * np.abs(sine) for one, other in ((first, second), (second, first))
    ]
    both = 4 * (np.abs(first) + np.abs(second))
    turned = np.concatenate([first * cosine - second * sine, second * cosine + first * sine, rest], axis=-1)
    errors = [(relative + 2) * size + both for size in sizes]
    return turned, np.concatenate([*errors, relative * np.abs(rest)], axis=-1)
