"""Mutation operators: each gives the changes of one kind that a template allows.

Left alone, because no change there can make a result wrong: comments, strings, preprocessor lines (with them
`#pragma unroll`), static_asserts (a changed one only refuses to compile) and the arguments of __launch_bounds__ (the
first refuses a launch or does nothing, the second divides registers). Jinja tags are left alone as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from specforge.mutate.mutant import Change
from specforge.mutate.tokens import Source, is_block

_RELATIONS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "&&": ("||",),
    "||": ("&&",),
}
_ARITHMETIC = {
    "+": "-", "-": "+", "*": "/", "/": "*", "%": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "&",
    "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "%=": "*=", "<<=": ">>=", ">>=": "<<=", "&=": "|=", "|=": "&=",
    "^=": "&=", "++": "--", "--": "++",
}  # fmt: skip
_UNARY = frozenset({"-", "!", "~"})
_EXTREMES = {"max": "min", "min": "max", "fmaxf": "fminf", "fminf": "fmaxf", "fmax": "fmin", "fmin": "fmax"}
_SYMMETRIC = frozenset(_EXTREMES)
_ASSIGNMENTS = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "&=", "|=", "^="})
_LOW = _ASSIGNMENTS | {",", ";", "?", ":", "return"}
"""Marks that bind no tighter than a condition."""
_BARRIER = re.compile(r"\w*(sync|barrier|fence|wait|commit|arrive)\w*", re.IGNORECASE)
_COLLECTIVE = re.compile(r"__(shfl|reduce|any|all|ballot|match|syncwarp)\w*")
_EXCHANGES = {
    "__shfl_xor_sync": "__shfl_down_sync",
    "__shfl_down_sync": "__shfl_up_sync",
    "__shfl_up_sync": "__shfl_down_sync",
    "__shfl_sync": "__shfl_xor_sync",
    "__reduce_max_sync": "__reduce_min_sync",
    "__reduce_min_sync": "__reduce_max_sync",
    "__reduce_add_sync": "__reduce_max_sync",
    "__any_sync": "__all_sync",
    "__all_sync": "__any_sync",
}
_MEMBERS = {"x": "y", "y": "x", "z": "w", "w": "z"}
_CONVERSION = re.compile(r"__\w+2(float|half|bfloat16|int|uint)\w*|widen|narrow")
_FIXED = frozenset({"const", "constexpr", "static", "extern", "typedef", "using", "auto", "template", "struct", "enum"})
_KEYWORDS = frozenset({
    "if", "for", "while", "do", "else", "switch", "case", "default", "return", "break", "continue", "goto", "namespace",
    "public", "private", "sizeof", "alignof", "static_assert", "asm", "operator", "decltype", "noexcept",
})  # fmt: skip
_INTEGER = re.compile(r"(?:0[xX][0-9a-fA-F']+|[0-9']+)[uUlL]*")


def changes(source: Source) -> Iterator[Change]:
    """Every change of every operator, outside what is left alone."""
    closed = _closed(source)
    for name, operator in OPERATORS.items():
        for first, last, text in operator(source):
            if closed.isdisjoint(range(min(first, last), max(first, last) + 1)):
                yield Change(name, first, last, text)


Edits = Iterator[tuple[int, int, str]]


def _closed(source: Source) -> set[int]:
    """Places that no operator may touch."""
    found: set[int] = set(source.angles)
    for place, token in enumerate(source.tokens):
        opening = place + 1
        if token.text in {"static_assert", "__launch_bounds__", "__align__", "alignas"} and opening in source.partner:
            found.update(range(place, source.partner[opening] + 1))
        if token.text in {"template", "typedef", "using"}:
            end = source.partner[opening] if opening in source.angles else source.end_of(place)
            found.update(range(place, end + 1))
    return found


def _binary(source: Source, place: int) -> bool:
    """Whether a mark stands between two operands, and not in a type or declarator."""
    if not source.ends_operand(place - 1):
        return False
    declarator = source.at(place) in {"*", "&", "&&"} and (source.is_type(place - 1) or source.at(place + 1) == "const")
    return not declarator


def _relational(source: Source) -> Edits:
    for place, token in enumerate(source.tokens):
        if token.kind == "mark" and token.text in _RELATIONS and place not in source.angles and _binary(source, place):
            yield from ((place, place, other) for other in _RELATIONS[token.text])


def _arithmetic(source: Source) -> Edits:
    for place, token in enumerate(source.tokens):
        if token.kind == "name" and token.text in _EXTREMES and source.at(place + 1) == "(":
            yield place, place, _EXTREMES[token.text]
        if token.kind != "mark":
            continue
        if token.text in {"++", "--"} or (token.text in _ARITHMETIC and _binary(source, place)):
            if not (token.text in {"&", "|"} and source.at(place - 1) in {"[", "("}):
                yield place, place, _ARITHMETIC[token.text]
        elif token.text in _UNARY and not source.ends_operand(place - 1):
            yield place, place, ""


def _constant(source: Source) -> Edits:
    for place, token in enumerate(source.tokens):
        if token.kind == "number":
            if token.text.isdecimal():
                yield place, place, str(int(token.text) + 1)
                yield place, place, str(int(token.text) - 1)
                continue
            one = "1" if _INTEGER.fullmatch(token.text) else "1.0f" if token.text[-1] in "fF" else "1.0"
            yield place, place, f"({token.text} + {one})"
            yield place, place, f"({token.text} - {one})"
        elif token.kind == "tag" and not token.text.endswith("}"):  # a tag with a suffix is a number
            yield place, place, f"({token.text} * 1.5f)"
        elif token.text in {"true", "false"}:
            yield place, place, "false" if token.text == "true" else "true"


def _guard(source: Source) -> Edits:
    for place, token in enumerate(source.tokens):
        after = place + 1
        if token.text == "if":
            after += source.at(after) == "constexpr"
            if source.at(after) == "(" and after in source.partner:
                yield after + 1, source.partner[after] - 1, "true"
                yield after + 1, source.partner[after] - 1, "false"
        elif token.text == "?" and token.kind == "mark":
            first = source.boundary(place, -1, _LOW)
            yield first, place - 1, "true"
            yield first, place - 1, "false"
        elif token.text in {"&&", "||"} and place not in source.angles and _binary(source, place):
            yield source.boundary(place, -1, _LOW | {"&&", "||"}), place, ""
            yield place, source.boundary(place, 1, _LOW | {"&&", "||"}), ""
        elif token.text in _EXTREMES:
            parts = _arguments(source, after)
            if len(parts) == 2:
                yield from ((place, source.partner[after], f"({source.slice(*part)})") for part in parts)


def _barrier(source: Source) -> Edits:
    for start, end in _expressions(source):
        if _is_barrier(source, start, end):
            yield start, end - 1, ""


def _is_barrier(source: Source, start: int, end: int) -> bool:
    """Whether a statement is nothing but a call that synchronises."""
    opening = start
    while source.kind(opening) == "name" or source.at(opening) in {"::", "."}:
        opening += 1
    plain = source.at(opening) == "(" and source.partner.get(opening) == end - 1
    return plain and _BARRIER.fullmatch(source.at(opening - 1)) is not None


def _statement(source: Source) -> Edits:
    for start, end in _expressions(source):
        if not _is_barrier(source, start, end):
            yield start, end - 1, ""


def _expressions(source: Source) -> Iterator[tuple[int, int]]:
    """Statements that declare nothing and control nothing: their first token and their `;`."""
    for start in source.starts:
        end = source.end_of(start)
        if source.at(end) != ";" or end <= start:
            continue
        word = source.at(start)
        jumps = word in {"break", "continue", "return"} and end == start + 1
        if jumps or (word not in _KEYWORDS and word not in {"}", "{"} and not _declares(source, start, end)):
            yield start, end


def _declares(source: Source, start: int, end: int) -> bool:
    """Whether a statement starts like a declaration or a definition: two names in a row, or a type's own word."""
    here = start
    if source.is_type(here) or source.at(here) in _FIXED or source.at(here).startswith("__shared__"):
        return True
    while here < end and (source.kind(here) == "name" or source.at(here) in {"::", "*", "&"} or here in source.angles):
        if source.kind(here) == "name" and source.kind(here + 1) == "name":
            return True
        if here > start and source.at(here) in {"*", "&"} and source.at(here + 2) in {"=", "const"}:
            return True
        here += 1
    return any(source.at(place) == "{" and is_block(source, place) for place in range(start, end))


def _initialisation(source: Source) -> Edits:
    """`T x = value` becomes `T x`, where the language allows it."""
    for start in source.starts:
        end = source.end_of(start)
        if source.at(end) != ";" or source.at(start) in {"{", "}"} or not _declares(source, start, end):
            continue
        if any(source.at(place) in _FIXED for place in range(start, end)) or source.at(start) in _KEYWORDS:
            continue
        here = start
        while here < end:
            if source.at(here) == "=":
                last = source.boundary(here, 1, frozenset({",", ";"}))
                yield here, last, ""
                here = last
            elif here in source.partner and source.partner[here] > here and here not in source.angles:
                here = source.partner[here]
            here += 1


def _index(source: Source) -> Edits:
    for place, token in enumerate(source.tokens):
        if (
            token.text == "]"
            and source.at(place + 1) == "["
            and place in source.partner
            and place + 1 in source.partner
        ):
            first, last = source.partner[place], source.partner[place + 1]
            left, right = source.slice(first + 1, place - 1), source.slice(place + 2, last - 1)
            if left != right:
                yield first, last, f"[{right}][{left}]"
        elif token.text in _MEMBERS and source.at(place - 1) == "." and source.at(place + 1) != "(":
            yield place, place, _MEMBERS[token.text]


def _argument(source: Source) -> Edits:
    """Two neighbouring arguments of a call, or elements of a list, change places."""
    for place, token in enumerate(source.tokens):
        call = token.text == "(" and (source.kind(place - 1) == "name" or source.at(place - 1) == ">")
        braces = token.text == "{" and source.at(place - 1) in {"=", "(", ",", "{", "return"}
        if not (call or braces) or place not in source.partner or source.at(place - 1) in _SYMMETRIC | {"for"}:
            continue
        parts = _arguments(source, place)
        if call and any(_is_parameter(source, *part) for part in parts):
            continue
        for (first, middle), (after, last) in pairwise(parts):
            left, right = source.slice(first, middle), source.slice(after, last)
            if left != right:
                yield first, last, f"{right}, {left}"


def _is_parameter(source: Source, first: int, last: int) -> bool:
    """Whether an argument is a declared parameter: a type and a name."""
    return last > first and source.is_type(first) and source.kind(last) == "name" and source.at(first + 1) != "("


def _arguments(source: Source, opening: int) -> list[tuple[int, int]]:
    """First and last token of each argument between a bracket and its partner."""
    if opening not in source.partner:
        return []
    close, found, first = source.partner[opening], [], opening + 1
    while first < close:
        last = source.boundary(first - 1, 1, frozenset({","}))
        if last < first:
            return []
        found.append((first, last))
        first = last + 2
    return found


def _shuffle(source: Source) -> Edits:
    for place, token in enumerate(source.tokens):
        if token.kind != "name" or _COLLECTIVE.fullmatch(token.text) is None:
            continue
        parts = _arguments(source, place + 1)
        if parts:
            yield *parts[0], f"(({source.slice(*parts[0])}) >> 1)"
        if len(parts) > 2:
            yield *parts[2], f"(({source.slice(*parts[2])}) ^ 1)"
        if token.text in _EXCHANGES:
            yield place, place, _EXCHANGES[token.text]


def _stride(source: Source) -> Edits:
    """A named factor or step becomes one more; written ones are changed as constants."""
    for place, token in enumerate(source.tokens):
        named = source.kind(place + 1) == "name" and source.at(place + 2) not in {"(", "[", ".", "->", "::", "<"}
        step = token.text == "+=" and source.boundary(place, -1, frozenset()) - 1 in source.partner
        if (token.text == "*" or step) and named and _binary(source, place) and not source.is_type(place + 1):
            yield place + 1, place + 1, f"({source.at(place + 1)} + 1)"


def _cast(source: Source) -> Edits:
    for place, token in enumerate(source.tokens):
        close = source.partner.get(place, -1)
        if token.text == "(" and close > place + 1 and not source.ends_operand(place - 1):
            words = range(place + 1, close)
            if all(source.is_type(here) or source.at(here) in {"*", "&"} for here in words) and _operand(source, close):
                yield place, close, ""
        elif token.text == "static_cast" and place + 1 in source.partner:
            yield place, source.partner[place + 1], ""
        elif token.kind == "name" and _CONVERSION.fullmatch(token.text) and source.at(place + 1) == "(":
            parts = _arguments(source, place + 1)
            if len(parts) == 1 and not _is_parameter(source, *parts[0]):
                yield place, place, ""


def _operand(source: Source, close: int) -> bool:
    """Whether what follows a bracket can be what is cast."""
    return source.kind(close + 1) in {"name", "number", "tag"} or source.at(close + 1) == "("


OPERATORS: dict[str, Callable[[Source], Edits]] = {
    "relational": _relational,
    "arithmetic": _arithmetic,
    "constant": _constant,
    "guard": _guard,
    "barrier": _barrier,
    "initialisation": _initialisation,
    "index": _index,
    "argument": _argument,
    "shuffle": _shuffle,
    "stride": _stride,
    "cast": _cast,
    "statement": _statement,
}
"""By name, in the order in which they are shown."""
