"""Large arrays filled piece by piece, by several threads: what a piece needs in between stays in a CPU's caches."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def fill(size: int, step: int, work: Callable[[slice], None], *, threads: int = 16) -> None:
    """Call `work` for each piece of `step` of `size` elements; here where there is one, else in at most `threads`."""
    pieces = [slice(start, min(start + step, size)) for start in range(0, size, step)]
    width = min(threads, os.cpu_count() or 1, len(pieces))
    if width <= 1:
        for piece in pieces:
            work(piece)
        return
    with ThreadPoolExecutor(width) as pool:
        list(pool.map(work, pieces))
