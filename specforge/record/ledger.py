"""The ledger of published records: one line each, every line chained to the one before by its hash.

It shows what was changed after publishing: a line or a record that was edited, dropped, moved or slipped in. Dropping
the last line together with its record leaves a shorter but whole chain; only the repository's history shows that.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail
from specforge.disk import write_whole
from specforge.record.model import Record
from specforge.record.store import canonical, read_record

ORIGIN = "0" * 64
"""What the first line gives as its previous one."""


class LedgerLine(BaseModel):
    """One published record. `path` is relative to the ledger's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sequence: int
    previous: str
    """SHA-256 of the previous line without its line feed."""
    record: str
    """The record's digest."""
    path: str
    created: str
    spec: str
    status: int


def append(ledger: Path, record: Record, path: Path) -> LedgerLine:
    """Add a record that stands at `path`, below the ledger's folder.

    Raises SF606 where the chain is broken already, or its last line does not agree with its record; SF604 where the
    record stands in it.
    """
    folder = ledger.parent
    folder.mkdir(parents=True, exist_ok=True)
    relative = path.resolve().relative_to(folder.resolve()).as_posix()
    with _locked(folder):
        lines = _lines(ledger)
        chain = list(_chain(ledger, lines))
        broken = [fault for fault in chain if isinstance(fault, Diagnostic)]
        if chain and isinstance(chain[-1], LedgerLine):  # nothing follows that would show a change of the last line
            broken += _check_record(ledger, len(chain), chain[-1])
        if broken:
            raise SpecForgeError(*broken)
        for number, found in enumerate(chain, start=1):
            if isinstance(found, LedgerLine) and found.path == relative:
                raise fail("SF604", f"{path} is published already", Position(ledger, number))
        line = LedgerLine(
            sequence=len(lines) + 1,
            previous=_hash(lines[-1]) if lines else ORIGIN,
            record=record.digest,
            path=relative,
            created=record.created,
            spec=record.spec,
            status=record.status,
        )
        try:
            write_whole(ledger, b"".join(text + b"\n" for text in [*lines, canonical(line.model_dump())]))
        except OSError as error:
            raise fail("SF605", f"cannot write {ledger}: {error.strerror or error}") from None
    return line


def verify_ledger(ledger: Path) -> list[Diagnostic]:
    """Every fault (SF606) of the chain, of the records it names, and every record beside it that it does not name."""
    faults: list[Diagnostic] = []
    listed: dict[str, int] = {}
    for number, found in enumerate(_chain(ledger, _lines(ledger)), start=1):
        if isinstance(found, Diagnostic):
            faults.append(found)
            continue
        if found.path in listed:
            faults.append(_fault(ledger, number, f"{found.path} stands on line {listed[found.path]} already"))
        listed.setdefault(found.path, number)
        faults += _check_record(ledger, number, found)
    folder = ledger.parent
    for path in sorted(folder.glob("*/*/*.json")):
        relative = path.relative_to(folder).as_posix()
        if relative not in listed:
            faults.append(_fault(ledger, 1, f"{relative} is published but stands on no line"))
    return faults


def published(ledger: Path) -> list[Record]:
    """The records that it names, in the order of publishing; raises SpecForgeError where it or one is not whole."""
    faults = verify_ledger(ledger)
    if faults:
        raise SpecForgeError(*faults)
    return [read_record(ledger.parent / line.path) for line in map(_line, _lines(ledger))]


def _chain(ledger: Path, lines: list[bytes]) -> Iterator[LedgerLine | Diagnostic]:
    """For each line its content; for one that is not what it should be, what is wrong instead or besides."""
    previous = ORIGIN
    for number, text in enumerate(lines, start=1):
        try:
            line = _line(text)
        except (ValidationError, ValueError, RecursionError):
            yield _fault(ledger, number, "not a line that specforge wrote")
        else:
            if canonical(line.model_dump()) != text:
                yield _fault(ledger, number, "not in the form that specforge writes")
            elif line.sequence != number:
                yield _fault(
                    ledger, number, f"its sequence is {line.sequence}: a line was dropped, moved or slipped in"
                )
            elif line.previous != previous:
                yield _fault(ledger, number, "it does not follow from the line before: one of the two was changed")
            else:
                yield line
        previous = _hash(text)


def _check_record(ledger: Path, number: int, line: LedgerLine) -> Iterator[Diagnostic]:
    path = ledger.parent / line.path
    if not path.resolve().is_relative_to(ledger.parent.resolve()):
        yield _fault(ledger, number, f"{line.path} lies outside the ledger's folder")
        return
    try:
        record = read_record(path)
    except SpecForgeError as error:
        yield _fault(ledger, number, error.diagnostics[0].message)
        return
    stated = (line.record, line.created, line.spec, line.status)
    if stated != (record.digest, record.created, record.spec, record.status):
        yield _fault(ledger, number, f"it does not say what its record says ({line.path})")


def _fault(ledger: Path, number: int, message: str) -> Diagnostic:
    return Diagnostic("SF606", message, Position(ledger, number))


def _line(text: bytes) -> LedgerLine:
    return LedgerLine.model_validate(json.loads(text))


def _lines(ledger: Path) -> list[bytes]:
    if not ledger.exists():
        return []
    try:
        content = ledger.read_bytes()
    except OSError as error:
        raise fail("SF606", f"cannot read {ledger}: {error.strerror or error}") from None
    lines = content.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder: the ledger itself is replaced as a whole, so a lock on it would lock a file that is gone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
