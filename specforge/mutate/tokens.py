"""A template's tokens: C++ with jinja tags in it, each token with its place, brackets matched, statements told apart.

No compiler's parser reads a template, and mutation needs little: what is an operator, where a statement ends. What this
misjudges makes a mutant that does not compile, which is not counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from specforge.kernel.comments import TOKEN

_DIRECTIVE = re.compile(r"^[ \t]*#(?!\})(?:\\\n|[^\n])*", re.MULTILINE)
_OPENING, _CLOSING = "([{", ")]}"
_CONTROL = frozenset({"if", "for", "while", "switch"})
_CASTS = frozenset({"static_cast", "reinterpret_cast", "const_cast", "dynamic_cast", "template"})
_TYPE = re.compile(
    r"(u?(int|char|short|long|longlong)|float|double|half|unsigned|signed|bool|void|auto|const|volatile|size_t|struct)\d*"
    r"|__(nv_)?(half|bfloat16)2?\d*|\w+_t"
)
_ALIAS = re.compile(r"\btypedef\b[^;]*?(\w+)\s*;|\busing\s+(\w+)\s*=|\bstruct\s+(\w+)|\btypename\s+(\w+)")


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `kind` is tag, text, number, name or mark."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Offset behind the token."""
        return self.start + len(self.text)


@dataclass(slots=True)
class Source:
    """A template's text and what mutation operators ask about it; tokens are named by their place in `tokens`."""

    text: str
    tokens: list[Token]
    partner: dict[int, int]
    """Each bracket's other end, both ways; those of template arguments included."""
    angles: set[int]
    """Places of `<` and `>` that are brackets."""
    starts: list[int] = field(default_factory=list)
    """Where statements, headers of `if` and loops, and declarations begin, ascending."""
    types: frozenset[str] = frozenset()
    """Names that the template itself gives to types."""

    def at(self, place: int) -> str:
        """A token's text; empty outside the template."""
        return self.tokens[place].text if 0 <= place < len(self.tokens) else ""

    def kind(self, place: int) -> str:
        """A token's kind; empty outside the template."""
        return self.tokens[place].kind if 0 <= place < len(self.tokens) else ""

    def is_type(self, place: int) -> bool:
        """Whether a token is a word that types are made of."""
        word = self.at(place)
        return self.kind(place) == "name" and (word in self.types or _TYPE.fullmatch(word) is not None)

    def ends_operand(self, place: int) -> bool:
        """Whether an operator behind this token has a left operand."""
        word = self.at(place)
        if self.kind(place) == "mark":
            return word in {")", "]"}
        return place >= 0 and word not in {"return", "case", "else", "do"}

    def slice(self, first: int, last: int) -> str:
        """The text from token `first` to token `last`, both included."""
        return self.text[self.tokens[first].start : self.tokens[last].end] if first <= last else ""

    def line(self, place: int) -> int:
        """A token's line, from 1."""
        return self.text.count("\n", 0, self.tokens[place].start) + 1

    def boundary(self, place: int, step: int, stops: frozenset[str]) -> int:
        """The last token in a direction before a stop or an enclosing bracket, jumping over brackets on the way."""
        enclosing = _OPENING if step < 0 else _CLOSING
        jumping = _CLOSING if step < 0 else _OPENING
        here = place + step
        while 0 <= here < len(self.tokens):
            word = self.at(here)
            if word in stops or (word and word in enclosing and self.kind(here) == "mark"):
                break
            if word in jumping and here in self.partner:
                here = self.partner[here]
            here += step
        return here - step

    def end_of(self, start: int) -> int:
        """The place of the `;` that ends the statement at `start`, or of the bracket that encloses it."""
        return self.boundary(start - 1, 1, frozenset({";"})) + 1


def read(text: str) -> Source:
    """Take a template apart."""
    blanked = _DIRECTIVE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)
    tokens = [
        Token(found.lastgroup if found.lastgroup != "fence" else "text", found.group(), found.start())
        for found in TOKEN.finditer(blanked)
        if found.lastgroup not in {"skip", None}
    ]
    aliases = {name for names in _ALIAS.findall(text) for name in names if name}
    source = Source(text, tokens, {}, set(), types=frozenset(aliases))
    _match(source)
    source.starts = _starts(source)
    return source


def _match(source: Source) -> None:
    waiting: list[int] = []
    for place, token in enumerate(source.tokens):
        if token.kind != "mark":
            continue
        if token.text in _OPENING:
            waiting.append(place)
        elif token.text in _CLOSING and waiting:
            source.partner[place] = waiting.pop()
            source.partner[source.partner[place]] = place
        elif token.text == "<" and (close := _angle(source, place)):
            source.partner[place], source.partner[close] = close, place
            source.angles |= {place, close}


def _angle(source: Source, place: int) -> int | None:
    """The `>` that closes template arguments, if that is what a `<` opens."""
    before = source.at(place - 1)
    if source.kind(place - 1) != "name":
        return None
    depth = 0
    for here in range(place, min(place + 40, len(source.tokens))):
        word = source.at(here)
        if word == "<":
            depth += 1
        elif word == ">":
            depth -= 1
            if depth == 0:
                sure = before in _CASTS or before in {"template"}
                return here if sure or source.at(here + 1) == "(" or source.is_type(place + 1) else None
        elif before not in _CASTS and (word in {";", "{", "}", "&&", "||", "=", "?"} or word in {"(", ")"}):
            return None
    return None


def _starts(source: Source) -> list[int]:
    found = {0}
    for place, token in enumerate(source.tokens):
        if token.kind != "mark":
            if token.text in {"else", "do"}:
                found.add(place + 1)
            continue
        if token.text == ";" and not _in_parentheses(source, place):
            found.add(place + 1)
        elif token.text == ")" and place in source.partner:
            opening = source.partner[place]
            word = source.at(opening - 1)
            if word in _CONTROL or (word == "constexpr" and source.at(opening - 2) == "if"):
                found.add(place + 1)
        elif token.text == "{" and is_block(source, place):
            found.add(place + 1)
            if place in source.partner:
                found.add(source.partner[place] + 1)
    return sorted(place for place in found if place < len(source.tokens))


def _in_parentheses(source: Source, place: int) -> bool:
    """Whether a `;` belongs to the header of a `for`."""
    back = source.boundary(place, -1, frozenset()) - 1
    return source.at(back) in {"(", "["}


def is_block(source: Source, place: int) -> bool:
    """Whether a `{` opens statements or members, not an initialiser."""
    before = source.at(place - 1)
    if source.kind(place - 1) == "mark":
        return before in {")", ";", "}", "{"} and not (before in {"{", "}"} and _in_initialiser(source, place))
    back = source.at(place - 2)
    return before in {"else", "do", "namespace", "mutable"} or back in {"struct", "class", "namespace", "union"}


def _in_initialiser(source: Source, place: int) -> bool:
    back = source.boundary(place, -1, frozenset({";"}))
    enclosing = back - 1
    return source.at(enclosing) == "{" and not is_block(source, enclosing)
