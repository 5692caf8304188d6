"""NVRTC's log -> diagnostics at the template's own line."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from specforge.diagnostics import Diagnostic, Position, shorten
from specforge.kernel.lines import Place
from specforge.kernel.render import Rendered

MAX_ERRORS = 20
_ERROR = re.compile(
    r"""
    ^(?P<file>[^\n]+?)\((?P<line>\d+)\):\ (?:catastrophic\ |fatal\ |internal\ )?error(?:\ \#[\w-]+)?:[ ]
    (?P<message>[^\n]*)
    (?P<rest>(?:\n[^\n]*)*?)(?=\n\n|\Z)
    """,
    re.MULTILINE | re.VERBOSE,
)
_PTXAS = re.compile(r"^[ \t]*ptxas (?:error|fatal)\s*: (?P<message>.+)$", re.MULTILINE)
_ENTRY = re.compile(r"(?:[Ff]unction|entry) '(\w+)'")


def compile_errors(log: str, rendered: Rendered, architecture: str) -> list[Diagnostic]:
    """One SF506 per error of the log, the first MAX_ERRORS of them; never an empty list."""
    found = [_front_end(error, rendered) for error in _ERROR.finditer(log)]
    found += [_back_end(error, rendered) for error in _PTXAS.finditer(log)]
    if not found:
        text = next((line.strip() for line in log.splitlines() if "error" in line), log.strip() or "no message")
        message = f"does not compile for {architecture}: {shorten(text, 200)}"
        found.append(Diagnostic("SF506", message, Position(rendered.template)))
    return list(dict.fromkeys(found))[:MAX_ERRORS]


def _front_end(error: re.Match[str], rendered: Rendered) -> Diagnostic:
    name, line = error["file"].strip('"'), int(error["line"])
    shown, column = _caret(error["rest"])
    if name in rendered.files:
        position = rendered.locate(Place(name, line), shown, column)
    else:
        position = Position(Path(name), line, column + 1)
    return Diagnostic("SF506", error["message"].strip(), position, shorten(shown) if shown.strip() else None)


def _caret(rest: str) -> tuple[str, int]:
    """The source line that NVRTC shows (indented by two) and the column of the caret below it, from 0."""
    lines = rest.split("\n")
    for above, below in pairwise(lines):
        if below.strip() == "^":
            return above[2:], max(0, below.index("^") - 2)
    return "", 0


def _back_end(error: re.Match[str], rendered: Rendered) -> Diagnostic:
    """ptxas knows entries, not lines: point at the entry's name."""
    named = _ENTRY.search(error["message"])
    found = re.search(rf"\b{named[1]}\s*\(", rendered.text) if named else None
    position = rendered.position(found.start()) if found else Position(rendered.template)
    return Diagnostic("SF506", error["message"].strip(), position)
