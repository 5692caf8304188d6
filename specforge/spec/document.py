"""A YAML 1.2 file as plain data in which every value knows its line and column."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.reader import ReaderError

from specforge.diagnostics import Position, SpecForgeError, fail, nearest
from specforge.spec.strict import Refused, strict_yaml

MAX_BYTES = 1 << 18

Location = tuple[str | int, ...]
"""Keys and indices from the top of a file down to a value."""


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file: plain data, the positions of its keys and values, and the hash of its bytes."""

    path: Path
    data: dict[str, Any]
    keys: dict[Location, tuple[int, int]]
    values: dict[Location, tuple[int, int]]
    starts: dict[Location, tuple[int, int]]
    """Where the first character of a text stands that is written on one line without escapes; quotes do not count."""
    sha256: str

    def at(self, location: Sequence[str | int], *, key: bool = False) -> Position:
        """Position of a value (or of its key); of the nearest enclosing one where it does not exist."""
        places = self.keys if key else self.values
        path = tuple(location)
        while path not in places and path:
            path = path[:-1]
        line, column = places.get(path, (0, 0))
        return Position(self.path, line + 1, column + 1)

    def inside(self, location: Sequence[str | int], offset: int) -> Position:
        """Position of the character at `offset` of a text; of the text itself where that cannot be told."""
        start = self.starts.get(tuple(location))
        return Position(self.path, start[0] + 1, start[1] + offset + 1) if start else self.at(location)


def read_text(path: Path) -> str:
    """Read a small UTF-8 file or raise a diagnostic that says what stands there instead."""
    return _read_bytes(path).decode()


def _read_bytes(path: Path) -> bytes:
    position = Position(path)
    try:
        if not path.exists():
            raise fail("SF001", f"no such file: {path}", position, hint=_neighbours(path))
        if not path.is_file():
            hint = "name a .yaml file inside it" if path.is_dir() else None
            raise fail("SF002", f"not a file: {path}", position, hint=hint)
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            size = max(path.stat().st_size, len(raw))
            message = f"{path} has {size:,} bytes; at most {MAX_BYTES:,} are read"
            raise fail("SF004", message, position, hint="a spec is a few kilobytes of text")
    except OSError as error:
        raise fail("SF001", f"cannot read {path}: {error.strerror or error}", position) from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise fail("SF003", "not UTF-8 text", Position(path, line), value=raw[error.start : error.start + 8]) from None
    if "\0" in text:
        raise fail("SF003", "binary data, not text (holds NUL bytes)", position)
    return raw


def _neighbours(path: Path) -> str | None:
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist either"
    names = [entry.name for entry in folder.iterdir() if entry.suffix == path.suffix][:200]
    near = nearest(path.name, names)
    return f"did you mean {folder / near}?" if near else None


def load_document(path: Path) -> Document:
    """Parse a file; raises SpecForgeError (SF001 to SF203) with the position of the fault. Cached by content."""
    raw = _read_bytes(path)
    return _parse(path, raw)


@lru_cache(maxsize=256)
def _parse(path: Path, raw: bytes) -> Document:
    text = raw.decode()
    try:
        tree = strict_yaml().load(text)
    except Refused as refused:
        raise fail(
            refused.code, refused.message, _mark(path, refused.mark), value=refused.value, hint=refused.hint
        ) from None
    except DuplicateKeyError as error:
        found = re.search(r'duplicate key "(.*?)"', str(error.problem))
        where, value = _mark(path, error.problem_mark), found and found[1]
        raise fail(
            "SF102", "this key stands twice in one mapping", where, value=value, hint="keep one of the two"
        ) from None
    except MarkedYAMLError as error:
        lines = _lines(text)
        line, column = _fault(error, lines)
        tab = _tab(lines[line], column)
        if tab is not None:
            where = Position(path, line + 1, tab + 1)
            raise fail("SF103", "a tab is used for indentation", where, hint="indent with spaces") from None
        where = Position(path, line + 1, column + 1)
        raise fail("SF101", f"not valid YAML: {error.problem or error.context}", where) from None
    except ReaderError as error:
        before = _lines(text[: error.position])
        place = Position(path, len(before), len(before[-1]) + 1)
        raise fail("SF003", f"character {chr(error.character)!r} is not allowed in YAML", place) from None
    except (YAMLError, ValueError) as error:
        raise fail("SF101", f"not valid YAML: {' '.join(str(error).split())}", Position(path)) from None
    if not isinstance(tree, CommentedMap):
        raise fail("SF106", "a mapping (`key: value` lines) is due at the top of the file", Position(path), value=tree)
    reading = _Reading(path, _lines(text))
    data = reading.plain(tree, ())
    return Document(path, data, reading.keys, reading.values, reading.starts, hashlib.sha256(raw).hexdigest())


def _mark(path: Path, mark: StringMark | None) -> Position:
    return Position(path, mark.line + 1, mark.column + 1) if mark else Position(path)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")))


def _fault(error: MarkedYAMLError, lines: tuple[str, ...]) -> tuple[int, int]:
    """Line and column, from 0, at which to look; a fault that shows only at the end began where its context did."""
    last = max((index for index, line in enumerate(lines) if line.strip()), default=0)
    end = (last, len(lines[last].rstrip()))
    marks = [mark for mark in (error.problem_mark, error.context_mark) if mark]
    places = [(mark.line, mark.column) for mark in marks] or [(0, 0)]
    return next((place for place in places if place < end), (last, max(0, end[1] - 1)))


def _tab(line: str, column: int) -> int | None:
    """Column of a tab in the blank start of the line at fault, or of one that is itself the fault."""
    blank = line[: len(line) - len(line.lstrip(" \t"))]
    if "\t" in blank:
        return blank.index("\t")
    return column if line[column : column + 1] == "\t" else None


_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class _Reading:
    """Strips ruamel's types, notes positions, rejects what no spec can mean."""

    def __init__(self, path: Path, lines: tuple[str, ...]) -> None:
        self.path = path
        self.lines = lines
        self.keys: dict[Location, tuple[int, int]] = {}
        self.values: dict[Location, tuple[int, int]] = {(): (0, 0)}
        self.starts: dict[Location, tuple[int, int]] = {}

    def plain(self, node: Any, location: Location) -> Any:  # noqa: ANN401 - YAML data
        """Plain data of a node; its own position is noted already."""
        if isinstance(node, CommentedMap):
            return self._mapping(node, location)
        if isinstance(node, CommentedSeq):
            items = []
            for index, child in enumerate(node):
                here = (*location, index)
                self.values[here] = self.keys[here] = self._written(child, node.lc.item(index), self.values[location])
                items.append(self.plain(child, here))
            return items
        if isinstance(node, str):
            self._start(node, location)
        return _scalar(node, self._position(self.values[location]))

    def _mapping(self, node: CommentedMap, location: Location) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, child in node.items():
            where = self._position(node.lc.key(key))
            if not isinstance(key, str):
                raise _bad_key(key, where)
            here = (*location, str(_scalar(key, where)))
            self.keys[here] = node.lc.key(key)
            self.values[here] = self._written(child, node.lc.value(key), self.keys[here])
            plain[str(key)] = self.plain(child, here)
        return plain

    def _written(self, child: object, place: tuple[int, int], otherwise: tuple[int, int]) -> tuple[int, int]:
        """The place of a value; ruamel puts one that was left out wherever the next thing stands."""
        line, column = place
        there = self.lines[line][column:] if line < len(self.lines) else ""
        return otherwise if child is None and not there.startswith(("~", "null", "Null", "NULL")) else place

    def _start(self, text: str, location: Location) -> None:
        line, column = self.values[location]
        for quote in (0, 1):
            if text and line < len(self.lines) and self.lines[line].startswith(text, column + quote):
                self.starts[location] = (line, column + quote)
                return

    def _position(self, place: tuple[int, int]) -> Position:
        return Position(self.path, place[0] + 1, place[1] + 1)


def _bad_key(key: object, where: Position) -> SpecForgeError:
    if key is None:
        return fail("SF203", "a key is missing before the colon", where)
    text = str(key).lower()
    return fail("SF203", "a key must be text", where, value=text, hint=f'quote it: "{text}"')


def _scalar(node: object, here: Position) -> object:
    match node:
        case bool() | None:
            return node
        case int():
            if abs(node) >= 2**63:
                raise fail(
                    "SF203", "a whole number beyond 64 bits", here, value=str(node) if abs(node) < 10**80 else "…"
                )
            return int(node)
        case float():
            if not math.isfinite(node):
                raise fail("SF104", "not a number that can be compared", here, value=node, hint="write a finite number")
            return float(node)
        case str():
            if odd := _ODD.search(node):
                raise fail("SF203", f"a text holds the character {odd.group()!r}", here)
            return str(node)
        case datetime():
            raise fail("SF203", "a date without a time of day is due", here, value=str(node))
        case date():
            return date(node.year, node.month, node.day)
    raise fail("SF203", f"a {type(node).__name__} has no meaning here", here, value=node)
