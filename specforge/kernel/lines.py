"""Which template line each rendered line comes from: marks during rendering, `#line` directives afterwards.

The environment of `sandbox.py` puts an invisible mark (file and line) in front of every piece of template text. Once
all is rendered, a line's last mark before its first character tells where it comes from, and a `#line` directive is
written wherever the compiler's own line counter would say something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from specforge.kernel.source import continued_lines

_OPEN, _CLOSE = "\x02", "\x03"
_MARK = re.compile(f"{_OPEN}([^{_CLOSE}]*):([0-9]+){_CLOSE}")
_LEADING = re.compile(f"(?:{_MARK.pattern}|[ \t])*")
_DIRECTIVE = re.compile(r'#line ([0-9]+) "([^"\n]*)"')


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a template, by the short name that `#line` carries."""

    name: str
    line: int

    def after(self) -> Place:
        """The line below."""
        return Place(self.name, self.line + 1)


def is_clean(text: str) -> bool:
    """Whether a template's text is free of the characters that marks are made of."""
    return _OPEN not in text and _CLOSE not in text


def mark(name: str, line: int) -> str:
    """An invisible note that what follows comes from this line."""
    return f"{_OPEN}{name}:{line}{_CLOSE}"


def mark_text(text: str, name: str, line: int) -> str:
    """Template text that starts at `line`, with marks at its start and its first whole line; others follow on."""
    first, newline, rest = text.partition("\n")
    return mark(name, line) + first + (newline and newline + mark(name, line + 1)) + rest


def unmark(text: str) -> str:
    """The text without marks."""
    return _MARK.sub("", text) if _OPEN in text else text


def place_lines(marked: str) -> str:
    """Turn marks into the fewest `#line` directives that make a compiler count template lines."""
    continued = continued_lines(unmark(marked))
    true: Place | None = None
    counted: Place | None = None
    written: list[str] = []
    for number, line in enumerate(marked.split("\n")):
        text, true = line, true and true.after()
        if _OPEN in line:
            text, true = unmark(line), _place(line) or true
        counted = counted and counted.after()
        if true and true != counted and number not in continued and not text.isspace() and text:
            written.append(f'#line {true.line} "{true.name}"')
            counted = true
        written.append(text)
    return "\n".join(written)


def _place(line: str) -> Place | None:
    leading = _LEADING.match(line)
    marks = _MARK.findall(leading.group()) if leading else []
    return Place(marks[-1][0], int(marks[-1][1])) if marks else None


def read_places(text: str) -> list[Place | None]:
    """For each line of a rendered text the template line that a compiler would name."""
    continued = continued_lines(text)
    counter: Place | None = None
    places: list[Place | None] = []
    for number, line in enumerate(text.split("\n")):
        found = _DIRECTIVE.fullmatch(line) if number not in continued else None
        places.append(counter)
        counter = Place(found[2], int(found[1])) if found else counter and counter.after()
    return places
