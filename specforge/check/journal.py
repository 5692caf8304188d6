"""What a run has measured so far, line by line on disk, so that `--resume` goes on where a killed run stopped.

Each line is JSON: `what` it says and a `digest` over that and the line before, so that a line that was edited, dropped
or moved is noticed. A line is on disk before the next case begins, or before the next round where checks were owed; a
kill tears the last one at most. The journal goes once the run's record is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from specforge.backend.runner import KernelFault
from specforge.diagnostics import Position, fail
from specforge.measure.measurement import Measurement
from specforge.measure.peer import PeerMeasurement
from specforge.measure.session import Session

ORIGIN = "specforge journal 1"
"""What the first line's digest takes for the line before."""


@dataclass(slots=True)
class Journal:
    """An open journal; `path` None keeps everything in memory only. Rounds count from 0."""

    path: Path | None
    last: str = ORIGIN
    """Digest of the last line."""
    session: Session | None = None
    rounds: dict[tuple[str, int], Measurement | KernelFault] = field(default_factory=dict)
    """By case and round, what was measured or how the kernel failed."""
    peers: dict[tuple[str, int], dict[str, PeerMeasurement]] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)
    """When a killed run was taken up again, UTC."""
    notices: list[str] = field(default_factory=list)
    """For the user, about what was found on opening."""

    def add_session(self, session: Session) -> None:
        """Note what was measured once."""
        self.session = session
        self._write({"session": _dump(Session, session)})

    def add_round(self, case: str, number: int, found: Measurement | KernelFault) -> None:
        """Note one case of one round."""
        self.rounds[case, number] = found
        if isinstance(found, KernelFault):
            what: dict[str, Any] = {"fault": [found.kind, found.message]}
        else:
            what = {"measurement": _dump(Measurement, found)}
        self._write({"case": case, "round": number, **what})

    def add_peers(self, case: str, number: int, found: dict[str, PeerMeasurement]) -> None:
        """Note the peers of one case of one round."""
        self.peers[case, number] = found
        dumped = {name: _dump(PeerMeasurement, one) for name, one in found.items()}
        self._write({"case": case, "round": number, "peers": dumped})

    def _take(self, what: dict[str, Any]) -> None:
        """Take up one line that was read."""
        if "session" in what:
            self.session = _load(Session, what["session"])
        elif "resumed" in what:
            self.resumed.append(what["resumed"])
        else:
            place = (what["case"], what["round"])
            if place in (self.peers if "peers" in what else self.rounds):
                raise ValueError(f"{place[0]} stands twice in round {place[1]}")
            if "peers" in what:
                self.peers[place] = {name: _load(PeerMeasurement, one) for name, one in what["peers"].items()}
            elif "fault" in what:
                self.rounds[place] = KernelFault(*what["fault"])
            else:
                self.rounds[place] = _load(Measurement, what["measurement"])

    def _write(self, what: dict[str, Any]) -> None:
        """Append a line; it is on disk when this returns. Raises SF605 where it cannot be written."""
        if self.path is None:
            return
        self.last = _digest(self.last, what)
        line = json.dumps({"what": what, "digest": self.last}, separators=(",", ":")) + "\n"
        try:
            with self.path.open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise fail("SF605", f"cannot write the journal {self.path}: {error.strerror or error}") from None


def journal_path(state: Path, spec: str, uuid: str) -> Path:
    """Where the journal of a spec's unfinished run on a card stands."""
    return state / "journals" / f"{spec}-{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.jsonl"


def open_journal(path: Path, key: Mapping[str, Any], *, resume: bool) -> Journal:
    """Begin a journal, or with `resume` go on with the one that is there.

    `key` is all that decides what is measured; a journal of another is refused (SF607), as is one that was changed. A
    torn last line is dropped. Without `resume` an unfinished journal is set aside; `notices` say what was done.
    """
    plain = json.loads(json.dumps(key, default=str))
    if path.is_file() and not resume:
        aside = path.with_suffix(".aside.jsonl")
        path.replace(aside)
        journal = _begin(path, plain)
        told = f"an unfinished run was found and set aside ({aside}); `--resume` would have gone on with it"
        journal.notices.append(told)
        return journal
    if not path.is_file():
        journal = _begin(path, plain)
        if resume:
            journal.notices.append("there is no unfinished run to resume; this one starts anew")
        return journal
    journal = Journal(path)
    known = _read(journal)
    if known is None:
        path.unlink()
        journal = _begin(path, plain)
        journal.notices.append("the unfinished run had not measured anything; this one starts anew")
        return journal
    differs = sorted(name for name in plain.keys() | known.keys() if plain.get(name) != known.get(name))
    if differs:
        hint = "undo the change, or run without --resume, which measures everything anew"
        message = f"the unfinished run cannot be resumed: it differs in {', '.join(differs)}"
        raise fail("SF607", message, Position(path), hint=hint)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    journal.resumed.append(now)
    journal._write({"resumed": now})
    journal.notices.append(f"resuming: {len(journal.rounds)} measurements are kept")
    return journal


def _begin(path: Path, key: dict[str, Any]) -> Journal:
    journal = Journal(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fail("SF605", f"cannot write the journal {path}: {error.strerror or error}") from None
    journal._write({"key": key})
    return journal


def _read(journal: Journal) -> dict[str, Any] | None:
    """Take up every line and give the key; None where not even that was written. The torn end is cut off the file."""
    path = journal.path
    assert path is not None
    try:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with path.open("r+b") as file:
                file.truncate(len(whole))
            journal.notices.append("the journal's last line was torn by the kill and is dropped")
    except OSError as error:
        raise fail("SF607", f"cannot read the journal: {error.strerror or error}", Position(path)) from None
    key: dict[str, Any] | None = None
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            found = json.loads(line)
            what, digest = found["what"], found["digest"]
            if digest != _digest(journal.last, what):
                raise ValueError("its digest does not agree with it and the line before")
            if number == 1:
                key = dict(what["key"])
            else:
                journal._take(what)
            journal.last = digest
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
            reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "it is no line of a journal"
            hint = "run without --resume, which measures everything anew"
            raise fail("SF607", f"the journal was changed: {reason}", Position(path, number), hint=hint) from None
    return key


def _digest(last: str, what: dict[str, Any]) -> str:
    return hashlib.sha256(f"{last}\n{json.dumps(what, sort_keys=True)}".encode()).hexdigest()


def _dump(kind: type, value: object) -> Any:  # noqa: ANN401 - JSON
    return json.loads(json.dumps(_adapter(kind).dump_python(value)))


def _load(kind: type, data: object) -> Any:  # noqa: ANN401 - an instance of that type
    return _adapter(kind).validate_python(data)


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """Reads and writes a dataclass; the names are those that its modules import for type checkers only."""
    from specforge.measure.stopping import Stop
    from specforge.verify.compare import OutputError

    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    adapter.rebuild(_types_namespace={"Stop": Stop, "OutputError": OutputError})
    return adapter
