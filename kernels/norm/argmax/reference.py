"""The first of the largest logits of every row."""

from __future__ import annotations

import numpy as np


def reference(*, logits: np.ndarray, finished: np.ndarray) -> dict[str, np.ndarray]:
    """Return `id` and `value` [tokens] of `logits` [tokens, vocabulary]; the counter of blocks is 0 again."""
    place = np.argmax(logits, axis=1)
    value = np.take_along_axis(logits, place[:, None], axis=1)[:, 0]
    return {"id": place.astype(np.int64), "value": value, "finished": np.zeros_like(finished)}
