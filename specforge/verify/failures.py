"""Failing examples, kept by kernel and replayed before anything new is tried."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from specforge.diagnostics import SpecForgeError
from specforge.spec.interface import Kernel
from specforge.verify.example import Example
from specforge.verify.row import parse_row

KEPT = 32
"""Rows kept per kernel, the newest first."""


def failures_path(state: Path, identity: str) -> Path:
    """The file of one kernel's failing rows under the state folder."""
    return state / "failures" / f"{identity.replace('/', '__')}.yaml"


def load_failures(kernel: Kernel, state: Path) -> tuple[Example, ...]:
    """Rows that failed before, newest first; rows that the kernel's present interface no longer admits are left out."""
    found = []
    for row in _rows(failures_path(state, kernel.identity)):
        try:
            found.append(parse_row(row, kernel))
        except SpecForgeError:
            continue  # the kernel's parameters have changed since: the row names no case any more
    return tuple(found)


def update_failures(
    kernel: Kernel, state: Path, failed: Iterable[Example] = (), repaired: Iterable[Example] = ()
) -> None:
    """Put new failing examples first, drop those that pass again; the file appears whole and goes with its last row."""
    path = failures_path(state, kernel.identity)
    gone = {example.to_row() for example in repaired}
    known = [example.to_row() for example in load_failures(kernel, state)]
    rows = [row for row in dict.fromkeys([*(example.to_row() for example in failed), *known]) if row not in gone][:KEPT]
    if rows == _rows(path):
        return
    if rows:
        _write(path, kernel.identity, rows)
    else:
        path.unlink(missing_ok=True)


def _rows(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return []
    return [line.removeprefix("- ") for line in lines if line.startswith("- ")]


def _write(path: Path, identity: str, rows: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(
        (
            f"# Failing examples of {identity}, newest first; replayed by `specforge check` before new ones are drawn.",
            *(f"- {row}" for row in rows),
            "",
        )
    )
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
