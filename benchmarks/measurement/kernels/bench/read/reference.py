"""The exclusive or of tiles."""

from __future__ import annotations

import numpy as np


def reference(*, x: np.ndarray, tiles: int, rounds: int) -> dict[str, np.ndarray]:
    """Return, for every tile of `x` [tiles, 4096], the exclusive or of the words of `rounds` tiles, 7919 apart."""
    words = np.bitwise_xor.reduce(x, axis=1)
    out = np.zeros_like(words)
    for turn in range(rounds):
        out ^= np.roll(words, -(7919 * turn % tiles))
    return {"out": out}
