"""Committed examples: `examples.yaml` beside kernel.yaml, cases that must pass before anything is drawn.

A YAML list with a row a line, each as `--case` takes it and a failure prints it; comments are welcome:

    # the first context of two splits; failed on 2026-11-03
    - {batch: 1, context: 513, dtype: bf16, seed: 0}
"""

from __future__ import annotations

from pathlib import Path

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail, shorten
from specforge.spec.interface import Kernel
from specforge.verify.example import Example
from specforge.verify.row import parse_row

MOST = 1000
"""Rows that a file may hold."""


def committed_examples(kernel: Kernel) -> tuple[Example, ...]:
    """The rows in the file's order; empty where there is no file. Every wrong row is an error at its line and column.

    Raises SpecForgeError with the faults of all rows together, among them a row that stands twice (SF102).
    """
    path = kernel.examples
    found: list[Diagnostic] = []
    rows: dict[str, tuple[Example, int]] = {}
    for number, line in enumerate(_lines(path), start=1):
        text = line.partition(" #")[0].rstrip()
        if not text or text.startswith("#"):
            continue
        here = Position(path, number)
        if not text.startswith("- "):
            hint = "write a row a line, like `- {batch: 1, context: 17, seed: 0}`"
            found.append(Diagnostic("SF101", "not a row of committed examples", here, shorten(text), hint))
            continue
        row = text[2:].lstrip()
        try:
            example = parse_row(row, kernel, Position(path, number, len(text) - len(row) + 1))
        except SpecForgeError as error:
            found += error.diagnostics
            continue
        _, first = rows.setdefault(example.to_row(), (example, number))
        if first != number:
            found.append(Diagnostic("SF102", f"the row stands on line {first} already", here, shorten(row)))
    if len(rows) > MOST:
        found.append(Diagnostic("SF004", f"more than {MOST:,} committed examples", Position(path), str(len(rows))))
    if found:
        raise SpecForgeError(*found)
    return tuple(example for example, _ in rows.values())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except UnicodeDecodeError:
        raise fail("SF003", "not readable UTF-8 text", Position(path)) from None
    except OSError as error:
        raise fail("SF002", f"cannot be read: {error.strerror or error}", Position(path)) from None
