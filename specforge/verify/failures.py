"""Failing examples, kept by kernel and replayed before anything new is tried.

A file is made for version control: one YAML list, a row a line, sorted, so that two branches merge; comments, whether
on a row's own line or above it, stay with the row. A row that is worth keeping moves into `examples.yaml` beside
kernel.yaml as it stands (`verify/committed.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from specforge.diagnostics import SpecForgeError
from specforge.disk import write_whole
from specforge.spec.interface import Kernel
from specforge.verify.example import Example
from specforge.verify.row import parse_row

KEPT = 256
"""Rows kept per kernel; beyond that, known ones make room for new ones, the last in order first."""


def failures_path(state: Path, identity: str) -> Path:
    """The file of one kernel's failing rows under the state folder."""
    return state / "failures" / f"{identity.replace('/', '__')}.yaml"


def load_failures(kernel: Kernel, state: Path) -> tuple[Example, ...]:
    """Rows that failed before, in the file's order; rows that the kernel no longer admits are left out."""
    return tuple(example for example, _ in _read(kernel, state)[0].values())


def update_failures(
    kernel: Kernel, state: Path, failed: Iterable[Example] = (), repaired: Iterable[Example] = ()
) -> None:
    """Add new failing examples, drop those that pass again; the file appears whole and goes with its last row."""
    path = failures_path(state, kernel.identity)
    rows, rest = _read(kernel, state)
    for example in repaired:
        rows.pop(example.to_row(), None)
    new = {row: (example, f"- {row}\n") for example in failed if (row := example.to_row()) not in rows}
    new = dict(list(new.items())[:KEPT])
    kept = new | dict(sorted(rows.items())[: KEPT - len(new)])
    if not kept:
        path.unlink(missing_ok=True)
        return
    text = "".join((*_header(kernel), *(lines for _, (_, lines) in sorted(kept.items())), rest))
    if not path.is_file() or path.read_bytes() != text.encode():
        write_whole(path, text)


def _header(kernel: Kernel) -> tuple[str, str]:
    return (
        f"# Failing examples of {kernel.identity}: replayed before new ones are drawn, dropped once they pass.\n",
        "# To keep one for good, move its line into examples.yaml beside kernel.yaml.\n",
    )


def _read(kernel: Kernel, state: Path) -> tuple[dict[str, tuple[Example, str]], str]:
    """Each row with its lines, comments above it included; and the comment below the last one."""
    try:
        lines = failures_path(state, kernel.identity).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return {}, ""
    rows: dict[str, tuple[Example, str]] = {}
    above = ""
    for line in (f"{line}\n" for line in lines if f"{line}\n" not in _header(kernel)):
        if not line.strip() or line.startswith("#"):
            above += line
        elif line.startswith("- "):
            try:
                example = parse_row(line[2:].partition(" #")[0], kernel)
            except SpecForgeError:
                pass  # the kernel's parameters have changed since: the row names no case any more
            else:
                rows.setdefault(example.to_row(), (example, above + line))
            above = ""
    return rows, above
