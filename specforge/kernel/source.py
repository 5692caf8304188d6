"""The few lexical facts of C++ that rendering and signatures need: where comments and literals stand."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""  # every alternative starts with a literal character, which lets `re` skip ahead
      /\*.*?(?:\*/|\Z)
    | //(?:\\\n|[^\n])*
    | R"(?P<fence>[^()\\\s]{0,16})\(.*?\)(?P=fence)"
    | "(?:\\.|[^"\\\n])*"
    | '(?<![0-9A-Fa-f]')(?:\\.|[^'\\\n])*'                    # a quote after a digit separates digits
    """,
    re.DOTALL | re.VERBOSE,
)
_INK = re.compile(r"[^\n]")
_DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)


def blank_comments(text: str) -> str:
    """The text with every comment overwritten by spaces; offsets and lines stay as they are."""
    return _TOKEN.sub(lambda token: _blank(token) if token.group().startswith("/") else token.group(), text)


def blank_directives(text: str) -> str:
    """The text with every preprocessor line overwritten by spaces."""
    return _DIRECTIVE.sub(_blank, text)


def _blank(found: re.Match[str]) -> str:
    return _INK.sub(" ", found.group())


def continued_lines(text: str) -> set[int]:
    """Lines (from 0) that begin inside a comment or literal or after a backslash: no directive can stand there."""
    inside: set[int] = set()
    line = position = 0
    for token in _TOKEN.finditer(text):
        spanned = token.group().count("\n")
        if spanned:
            line += text.count("\n", position, token.start())
            inside.update(range(line + 1, line + spanned + 1))
            line += spanned
            position = token.end()
    if "\\\n" in text:
        inside.update(number for number, before in enumerate(text.split("\n"), 1) if before.endswith("\\"))
    return inside
