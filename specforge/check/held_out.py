"""Held-out inputs: examples drawn with a secret that nobody who wrote the kernel has seen, published afterwards.

The secret is a text from a file or from SPECFORGE_HELD_OUT_SEED. Until the verdict it stays in this process: it is on
no command line, in no progress, log, failure or temporary file, and not in the environment of the processes that run
kernels and references. What is drawn follows from its SHA-256 with the kernel's name, so one secret serves many
kernels and none of them tells the examples of another. The record states it, and whoever has the record can draw the
same examples again by putting that text into a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from specforge.diagnostics import Position, fail
from specforge.settings import Settings
from specforge.verify.example import Example

SHARE = 0.4
"""Of a kernel's wall budget, what is kept for held-out examples where there are any to draw."""
MOST = 4096
"""Characters of a secret."""


def read_seed(path: Path | None, settings: Settings) -> str | None:
    """The secret, without white space around it; the file wins over the environment. None where there is neither.

    Raises SF001, SF002 or SF003 where the file cannot be read, and SF801 where it holds nothing or too much.
    """
    if path is None:
        text, where = settings.held_out_seed, None
    else:
        text, where = _read(path), Position(path)
    if text is None:
        return None
    text = text.strip()
    if not 0 < len(text) <= MOST:
        found = "nothing" if not text else f"{len(text):,} characters"
        raise fail("SF801", f"a held-out seed is a text of 1 to {MOST:,} characters; this holds {found}", where)
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise fail("SF001", "no such file of a held-out seed", Position(path)) from None
    except UnicodeDecodeError:
        raise fail("SF003", "the held-out seed is not readable UTF-8 text", Position(path)) from None
    except OSError as error:
        raise fail("SF002", f"the held-out seed cannot be read: {error.strerror or error}", Position(path)) from None


def digest_of(seed: str) -> str:
    """The SHA-256 by which a secret can be committed to before it is shown."""
    return hashlib.sha256(seed.encode()).hexdigest()


def search_seed(seed: str, kernel: str) -> int:
    """The seed of the search of one kernel; it does not lead back to the text."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{kernel}".encode()).digest()[:8])


def known_to(committed: Iterable[Example], seen: frozenset[str]) -> Callable[[Example], bool]:
    """Whether an example is no news: a committed one has its case, or `seen` (rows of `inputs_row`) its very values."""
    cases = {_case(example) for example in committed}
    return lambda example: _case(example) in cases or example.inputs_row() in seen


def _case(example: Example) -> str:
    return Example(example.parameters, example.tunables).to_row()
