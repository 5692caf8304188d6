"""Records as files: one canonical form, one digest over it, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from specforge.diagnostics import Position, SpecForgeError, fail, shorten
from specforge.disk import write_whole
from specforge.record.model import RECORD_VERSION, Record
from specforge.record.upgrade import upgraded

READ_VERSIONS = (*range(1, RECORD_VERSION), RECORD_VERSION)
_NUMBERS = re.compile(r"\[\n\s+(-?[\d.e+-]+(?:,\n\s+-?[\d.e+-]+)*)\n\s+\]")
"""A list of numbers, each on its own line; no text of JSON holds a line feed, so it is never inside one."""
_TEXTUAL = {"ratio", "worst_ratio", "got", "want"}
"""Fields whose infinities (and, for `got`, NaN) are written as text; everywhere else they are refused."""


def canonical(data: object) -> bytes:
    """The one byte form of JSON data that digests are taken over; raises ValueError where a number is not finite."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest_of(data: dict[str, Any]) -> str:
    """SHA-256 over a record's canonical form with its `digest` empty."""
    return hashlib.sha256(canonical({**data, "digest": ""})).hexdigest()


def seal(record: Record) -> Record:
    """Fill in the digest; raises ValueError naming the first number that JSON cannot hold."""
    data = record.model_dump(mode="python")
    held_out = [entry["held_out"] for entry in data["fuzz"] if entry["held_out"]]
    for entry in (*data["fuzz"], *held_out, *(error for case in data["cases"] for error in case["errors"])):
        entry.update({key: _as_text(value) for key, value in entry.items() if key in _TEXTUAL})
    bad = next(_not_finite(data, "record"), None)
    if bad is not None:
        raise ValueError(f"{bad} is not a finite number, which a record cannot hold")
    plain = json.loads(json.dumps(data))  # tuples become lists, as they will be when it is read back
    return Record.model_validate({**plain, "digest": digest_of(plain)})


def to_json(record: Record) -> str:
    """A sealed record as text for a file, keys in the model's order; raises ValueError where it is not sealed."""
    data = record.model_dump(mode="python")
    if record.digest != digest_of(data):
        raise ValueError("the record is not sealed: its digest is not that of its content")
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)


def write_record(record: Record, path: Path) -> None:
    """Write a sealed record; the file appears whole or not at all. Raises SF605 where it cannot be written."""
    text = to_json(record)
    try:
        write_whole(path, text)
    except OSError as error:
        raise fail("SF605", f"cannot write {path}: {error.strerror or error}") from None


def read_record(path: Path) -> Record:
    """Read a record and check it against its digest; raises SF601 (unreadable) or SF602 (tampered)."""
    position = Position(path)
    if path.exists() and not path.is_file():
        raise fail("SF601", f"{path} is no regular file", position)
    try:
        data = json.loads(
            path.read_bytes(),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_without_duplicates,
        )
        digest = digest_of(data) if isinstance(data, dict) else None
    except OSError as error:
        raise fail("SF601", f"cannot read {path}: {error.strerror or error}", position) from None
    except (ValueError, RecursionError) as error:
        raise fail(
            "SF601",
            f"not a record: {shorten(str(error))}",
            position,
            hint="a record is a JSON file that specforge wrote",
        ) from None
    if not isinstance(data, dict) or "record_version" not in data:
        raise fail("SF601", "not a record: it states no record_version", position)
    version = data["record_version"]
    if version is True or version not in READ_VERSIONS:
        read = " and ".join(map(str, READ_VERSIONS))
        hint = f"this SpecForge reads versions {read}; use the SpecForge that wrote it, or a newer one"
        raise fail(
            "SF601", "a record of a version that this SpecForge does not read", position, value=version, hint=hint
        )
    if data.get("digest") != digest:
        hint = "restore it from git, or make it again; an edited record proves nothing"
        raise fail(
            "SF602",
            "the record does not match its own digest: it was changed",
            position,
            value=data.get("digest"),
            hint=hint,
        )
    try:
        return Record.model_validate(upgraded(data))
    except ValidationError as error:
        raise _invalid(error, position, version) from None
    except (KeyError, TypeError, AttributeError) as error:  # of an old version, and not as that version was
        raise fail("SF601", f"not a record of version {version}: {error!r}", position) from None


def default_path(record: Record, state: Path) -> Path:
    """Where a run's record goes unless it is told otherwise: `<state>/records/<device>/<spec>/<utc>-<digest>.json`."""
    moment = re.sub(r"[-:]|\.\d+", "", record.created).replace("+0000", "Z")
    return state / "records" / _folder(record.device) / _folder(record.spec) / f"{moment}-{record.digest[:12]}.json"


def published_path(record: Record, results: Path) -> Path:
    """Where a published record goes: `<results>/<device>/<spec>/<utc-date>-<digest>.json`."""
    return results / _folder(record.device) / _folder(record.spec) / f"{record.created[:10]}-{record.digest[:12]}.json"


def _folder(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"{name!r} cannot name a folder of records")
    return name


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _not_finite(node: object, place: str) -> Iterator[str]:
    if isinstance(node, float) and not math.isfinite(node):
        yield place
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _not_finite(value, f"{place}.{key}")
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _not_finite(value, f"{place}[{index}]")


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def _invalid(error: ValidationError, position: Position, version: int) -> SpecForgeError:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return fail(
        "SF601",
        f"not a record of version {version}: {place}: {first['msg']}",
        position,
        hint="make it again with this SpecForge",
    )
