"""RMSNorm in float64, and its result as signed bytes with one scale for every 32."""

from __future__ import annotations

import numpy as np

EPS = 1e-6
LEAST = 2.0**-100  # a block of 32 below it, before the row's scale, is quantised as zeros
ROUNDINGS = 8  # of a quotient: x + r, 1 + w and product of the element and of the largest; 127 / largest; product


def reference(
    *, x: np.ndarray, r: np.ndarray, w: np.ndarray, residual: bool, zero_centred: bool
) -> dict[str, np.ndarray]:
    """Return `sum` = x + r, `y` = sum / rms(sum) * weight, and y as `xs` [tokens, hidden / 32] times `xq`.

    xs is a block's largest |y| over 127, xq the nearest whole number to y * 127 / largest, of two as near the even one;
    a block whose |sum * weight| are all below LEAST has xs and xq 0. `xq_magnitude` is 1 where rounding may tip the
    choice of the two, else 0.
    """
    total = x + r if residual else x
    scale = 1.0 / np.sqrt((total * total).mean(axis=1, keepdims=True) + EPS)
    weighted = total * (1.0 + w if zero_centred else w)
    blocks = weighted.reshape(len(x), -1, 32)
    largest = np.abs(blocks).max(axis=2, keepdims=True)
    largest[largest < LEAST] = 0.0
    quotient = (blocks * 127.0 / np.where(largest == 0.0, np.inf, largest)).reshape(x.shape)
    from_tie = np.abs(np.abs(quotient - np.floor(quotient)) - 0.5)
    return {
        "sum": total if residual else np.zeros((1, 1)),
        "y": weighted * scale,
        "xs": largest[:, :, 0] * scale / 127.0,
        "xq": np.rint(quotient).astype(np.int64),
        "xq_magnitude": (from_tie <= ROUNDINGS * 2.0**-24 * np.abs(quotient)).astype(np.float64),
    }
