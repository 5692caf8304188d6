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

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from specforge.diagnostics import Position, fail

MAX_BYTES = 1 << 20
MAX_NESTING = 40

Location = tuple[str | int, ...]
"""Keys and indices from the top of a file down to a value."""


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file: plain data, the positions of its keys and values, and the hash of its bytes."""

    path: Path
    data: dict[str, Any]
    keys: dict[Location, tuple[int, int]]
    values: dict[Location, tuple[int, int]]
    sha256: str

    def at(self, location: Sequence[str | int], *, key: bool = False) -> Position:
        """Position of a value (or of its key); of the nearest enclosing one where it does not exist."""
        places = self.keys if key else self.values
        path = tuple(location)
        while path not in places and path:
            path = path[:-1]
        line, column = places.get(path, (0, 0))
        return Position(self.path, line + 1, column + 1)


def read_text(path: Path) -> str:
    """Read a small UTF-8 file or raise a diagnostic that says what stands there instead."""
    return _read_bytes(path).decode()


def _read_bytes(path: Path) -> bytes:
    position = Position(path)
    try:
        if not path.exists():
            raise fail("SF001", f"no such file: {path}", hint=_neighbours(path))
        if not path.is_file():
            raise fail("SF002", f"not a file: {path}", hint="name a .yaml file inside it" if path.is_dir() else None)
        if path.stat().st_size > MAX_BYTES:
            raise fail("SF004", f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read", hint="a spec is a few kilobytes of text")
        raw = path.read_bytes()
    except OSError as error:
        raise fail("SF001", f"cannot read {path}: {error.strerror or error}") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise fail("SF003", "not UTF-8 text", Position(path, line), value=raw[error.start : error.start + 8]) from None
    if "\0" in text:
        raise fail("SF003", "binary data, not text (holds NUL bytes)", position)
    return raw


def _neighbours(path: Path) -> str | None:
    from specforge.diagnostics import nearest

    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist either"
    names = [entry.name for entry in folder.iterdir() if entry.suffix == path.suffix][:200]
    near = nearest(path.name, names)
    return f"did you mean {folder / near}?" if near else None


def load_document(path: Path) -> Document:
    """Parse a file; raises SpecForgeError (SF001 to SF106) with the position of the fault. Cached by content."""
    raw = _read_bytes(path)
    return _parse(path, raw)


@lru_cache(maxsize=256)
def _parse(path: Path, raw: bytes) -> Document:
    text = raw.decode()
    tab = re.search(r"^ *\t+ *(?=[^\s#])", text, re.MULTILINE)
    yaml = YAML(typ="rt")
    yaml.allow_duplicate_keys = False
    try:
        tree = yaml.load(text)
    except DuplicateKeyError as error:
        found = re.search(r'duplicate key "(.*?)"', str(error.problem))
        raise fail("SF102", "this key stands twice in one mapping", _mark(path, error), value=found and found[1], hint="keep one of the two") from None
    except MarkedYAMLError as error:
        if tab:
            line = text.count("\n", 0, tab.start()) + 1
            raise fail("SF103", "a tab is used for indentation", Position(path, line, tab.group().index("\t") + 1), hint="indent with spaces") from None
        raise fail("SF101", f"not valid YAML: {error.problem or error.context}", _mark(path, error)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise fail("SF003", f"character {error.character!r} is not allowed in YAML", Position(path, line)) from None
    except (YAMLError, ValueError) as error:
        raise fail("SF101", f"not valid YAML: {' '.join(str(error).split())}", Position(path)) from None
    except RecursionError:
        raise fail("SF101", "nested too deeply", Position(path)) from None
    if not isinstance(tree, CommentedMap):
        raise fail("SF106", "a mapping (`key: value` lines) is due at the top of the file", Position(path), value=tree)
    keys: dict[Location, tuple[int, int]] = {}
    values: dict[Location, tuple[int, int]] = {(): (0, 0)}
    data = _plain(tree, (), path, keys, values)
    return Document(path, data, keys, values, hashlib.sha256(raw).hexdigest())


def _mark(path: Path, error: MarkedYAMLError) -> Position:
    mark = error.problem_mark or error.context_mark
    return Position(path, mark.line + 1, mark.column + 1) if mark else Position(path)


def _plain(node: Any, location: Location, path: Path, keys: dict[Location, tuple[int, int]], values: dict[Location, tuple[int, int]]) -> Any:  # noqa: ANN401 - YAML data
    """Strip ruamel's types, note positions, reject what no spec can mean."""
    line, column = values[location]
    here = Position(path, line + 1, column + 1)
    if len(location) > MAX_NESTING:
        raise fail("SF101", f"nested deeper than {MAX_NESTING}", here)
    if getattr(node, "anchor", None) is not None and node.anchor.value is not None:
        raise fail("SF105", "anchors and aliases are not used here", here, value=f"&{node.anchor.value}", hint="name a file, or write the value out")
    tag = getattr(node, "tag", None)
    if tag is not None and tag.value is not None and not str(tag.value).startswith("tag:yaml.org,2002:"):
        raise fail("SF105", "YAML tags are not used here", here, value=tag.value)
    if isinstance(node, CommentedMap):
        if node.merge:
            raise fail("SF105", "merge keys are not used here", here, value="<<", hint="write the keys out, or name a file")
        plain: dict[str, Any] = {}
        for key, child in node.items():
            at_key, at_value = node.lc.key(key), node.lc.value(key)
            if not isinstance(key, str):
                raise fail("SF203", "a key must be text", Position(path, at_key[0] + 1, at_key[1] + 1), value=key, hint=f'quote it: "{key}"')
            keys[(*location, key)] = at_key
            values[(*location, key)] = at_value
            plain[str(key)] = _plain(child, (*location, key), path, keys, values)
        return plain
    if isinstance(node, CommentedSeq):
        items = []
        for index, child in enumerate(node):
            values[(*location, index)] = keys[(*location, index)] = node.lc.item(index)
            items.append(_plain(child, (*location, index), path, keys, values))
        return items
    return _scalar(node, here)


def _scalar(node: object, here: Position) -> object:
    match node:
        case bool() | None:
            return node
        case int():
            if abs(node) >= 2**63:
                raise fail("SF203", "a whole number beyond 64 bits", here, value=str(node) if abs(node) < 10**80 else "…")
            return int(node)
        case float():
            if not math.isfinite(node):
                raise fail("SF104", "not a number that can be compared", here, value=str(float(node)), hint="write a finite number")
            return float(node)
        case str():
            return str(node)
        case datetime():
            raise fail("SF203", "a date without a time of day is due", here, value=str(node))
        case date():
            return date(node.year, node.month, node.day)
    raise fail("SF203", f"a {type(node).__name__} has no meaning here", here, value=node)
