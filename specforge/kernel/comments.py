"""What a template or a header says to a compiler: its tokens, less its comments."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

TOKEN = re.compile(
    r"""
      (?P<skip>\s+ | //(?:\\\n|[^\n])* | /\*.*?(?:\*/|\Z) | \{%.*?%\} | \{\#.*?\#\} | (?<![^\n])[ \t]*\#(?:\\\n|[^\n])*)
    | (?P<tag>\{\{.*?\}\}\w*)
    | (?P<text>R"(?P<fence>[^()\\\s]{0,16})\(.*?\)(?P=fence)" | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
    | (?P<number>\.?[0-9](?:[eEpP][+-]|'?[\w.])*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<mark><<=|>>=|\.\.\.|->|::|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.)
    """,
    re.DOTALL | re.VERBOSE,
)
"""C++ with jinja tags in it: everything is one of these."""


def without_comments(text: str) -> str:
    """The text less comments, in single spaces and lines."""
    parts = [found.group() for found in TOKEN.finditer(text)]
    kept = "".join(" " if part.startswith(("//", "/*", "{#")) else part for part in parts)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[ \t]+", " ", kept)).strip()


def said_sha256(path: Path) -> str:
    """SHA-256 of a file's text less its comments; raises UnicodeDecodeError for what is no text."""
    return hashlib.sha256(without_comments(path.read_text(encoding="utf-8")).encode()).hexdigest()
