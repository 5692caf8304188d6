"""Kernel entries of a rendered source: `extern "C" __global__ void name(arguments)`, aliases resolved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from specforge.kernel.source import blank_comments, blank_directives

_HEAD = re.compile(r'\bextern\s+"C"\s+')
_PART = re.compile(r"__global__\b|\bvoid\b|\bstatic\b|\binline\b|\[\[[^\]]*\]\]|(?P<attribute>__\w+__)\s*(?=\()|\s+")
_NAME = re.compile(r"\s*(\w+)\s*\(")
_TYPEDEF = re.compile(r"\btypedef\s+([^;{}()]+?)\s*\b(\w+)\s*;")
_USING = re.compile(r"\busing\s+(\w+)\s*=\s*([^;{}()]+?)\s*;")
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+([\w \t]+?)[ \t]*$", re.MULTILINE)
_NOISE = re.compile(
    r"\b(?:__restrict__|__restrict|restrict|volatile|__grid_constant__|struct|typename)\b|\[\[[^\]]*\]\]"
)
_ALIASES_DEEP = 8

_SPELLINGS = {
    "unsigned": "unsigned int",
    "signed": "int",
    "signed int": "int",
    "long long int": "long long",
    "signed long long": "long long",
    "int8_t": "signed char",
    "uint8_t": "unsigned char",
    "int32_t": "int",
    "uint32_t": "unsigned int",
    "half": "__half",
    "half2": "__half2",
    "nv_bfloat16": "__nv_bfloat16",
    "nv_bfloat162": "__nv_bfloat162",
}
"""Other spellings of the types that arguments may have."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: the type it comes down to, without const and pointer; `text` as written, `offset` in the source."""

    name: str
    ctype: str
    pointers: int
    const: bool
    """Of what is pointed at."""
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One kernel entry and where its name stands in the rendered source."""

    name: str
    arguments: tuple[Argument, ...]
    offset: int


def parse_entries(text: str) -> dict[str, Entry]:
    """Every entry of a rendered source by name."""
    commentless = blank_comments(text)
    aliases = _aliases(commentless)
    code = blank_directives(commentless)
    return {entry.name: entry for entry in _entries(code, aliases)}


def _entries(code: str, aliases: dict[str, str]) -> Iterator[Entry]:
    for head in _HEAD.finditer(code):
        position = head.end()
        is_kernel = False
        while part := _PART.match(code, position):
            is_kernel = is_kernel or part.group() == "__global__"
            position = _closing(code, part.end()) + 1 if part["attribute"] else part.end()
        named = _NAME.match(code, position)
        if is_kernel and named:
            end = _closing(code, named.end() - 1)
            yield Entry(named[1], tuple(_arguments(code, named.end(), end, aliases)), named.start(1))


def _closing(code: str, opening: int) -> int:
    """Offset of the bracket that closes the one at `opening`."""
    depth = 0
    for offset in range(opening, len(code)):
        depth += (code[offset] in "([{") - (code[offset] in ")]}")
        if depth == 0:
            return offset
    return len(code)


def _arguments(code: str, start: int, end: int, aliases: dict[str, str]) -> Iterator[Argument]:
    depth = 0
    first = start
    for offset in range(start, end + 1):
        character = code[offset] if offset < end else ","
        if character == "," and depth == 0:
            if code[first:offset].strip() not in {"", "void"}:
                yield _argument(code[first:offset], first, aliases)
            first = offset + 1
        depth += (character in "(<[{") - (character in ")>]}")


def _argument(text: str, start: int, aliases: dict[str, str]) -> Argument:
    offset = start + len(text) - len(text.lstrip())
    bare = _NOISE.sub(" ", text)
    array = "[" in bare
    words = re.findall(r"\w+|\*", bare.split("[")[0].split("=")[0])
    name = words.pop() if len(words) > 1 and words[-1] != "*" else ""
    for _ in range(_ALIASES_DEEP):
        words = [word for part in words for word in re.findall(r"\w+|\*", aliases.get(part, part))]
    pointers = words.count("*") + array
    const = "const" in (words[: words.index("*")] if "*" in words else words)
    base = " ".join(word for word in words if word not in {"*", "const"})
    return Argument(name, _SPELLINGS.get(base, base), pointers, const, " ".join(text.split()), offset)


def _aliases(code: str) -> dict[str, str]:
    """Names that typedef, using and plain defines give to types; a name never stands for itself."""
    found = {name: target for target, name in _TYPEDEF.findall(code)}
    found.update(_USING.findall(code))
    found.update(_DEFINE.findall(code))
    return {name: target for name, target in found.items() if name not in re.findall(r"\w+", target)}
