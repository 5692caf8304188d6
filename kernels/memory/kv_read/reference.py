"""Sums of 16 tokens of a head, exact in int64 and then wrapped to 32 bits."""

from __future__ import annotations

import numpy as np


def reference(
    *, cache: np.ndarray, table: np.ndarray, context: int, head_major: bool, paged: bool
) -> dict[str, np.ndarray]:
    """Return `sums` [kv_heads, pages] of `cache`, whose shape counts rows and not how they lie."""
    room, heads, words = cache.shape
    pages = room // 16
    if paged:
        shape = (pages, heads, 16, words) if head_major else (pages, 16, heads, words)
        tokens = cache.reshape(shape)[table]
        tokens = tokens.swapaxes(1, 2) if head_major else tokens
    else:
        tokens = cache.reshape(heads, room, words).swapaxes(0, 1) if head_major else cache
    rows = tokens.reshape(room, heads, words).sum(axis=2)
    rows[context:] = 0
    sums = rows.reshape(pages, 16, heads).sum(axis=1).T
    return {"sums": (sums + 2**31) % 2**32 - 2**31}
