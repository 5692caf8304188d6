"""Records and their ledger against a model: written, published, tampered with anywhere, restored, interrupted.

The model says what must hold after every step: a record that nobody touched is read back equal, one that somebody did
is refused; the ledger is whole exactly while every file is as it was published; and while it is not, nothing is added.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from specforge.diagnostics import SpecForgeError
from specforge.record.ledger import append, verify_ledger
from specforge.record.model import Record
from specforge.record.store import published_path, read_record, seal, write_record

SAMPLES = Path(__file__).parents[1] / "report" / "samples" / "sample_records.py"


def sample() -> Record:
    spec = importlib.util.spec_from_file_location("specforge_sample_records_of_store", SAMPLES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    small = {"cases": [], "targets": [], "judgements": [], "binaries": [], "inputs": []}
    return module.every_verdict().model_copy(update=small)


BASE = sample()
PLACE = st.integers(0, 99)
SHARE = st.floats(0, 1, exclude_max=True)


def prefixes(ledger: bytes) -> Iterator[bytes]:
    """A ledger with fewer lines, with and without the last line feed."""
    for place, byte in enumerate(ledger):
        if byte == ord("\n"):
            yield from (ledger[:place], ledger[: place + 1])


def meant(content: bytes) -> object:
    """What a file says: digests are over that, and white space between JSON's tokens is not in it."""
    try:
        return json.dumps(json.loads(content)) if content.startswith(b"{\n") else content.removesuffix(b"\n")
    except ValueError:
        return content


class StoreMachine(RuleBasedStateMachine):
    """`good` holds every file's bytes as they should be; what is on disk differs from them where it was damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="specforge-records-"))
        self.results = self.folder / "results"
        self.ledger = self.results / "ledger.jsonl"
        self.good: dict[Path, bytes] = {}
        self.records: dict[Path, Record] = {}
        self.stray: set[Path] = set()
        self.count = 0

    def fresh(self) -> Record:
        self.count += 1
        created = f"2026-11-{1 + self.count % 28:02}T00:00:{self.count % 60:02}+00:00"
        return seal(BASE.model_copy(update={"digest": "", "created": created, "seconds": float(self.count)}))

    def whole(self) -> bool:
        found = {path: path.read_bytes() for path in self.results.rglob("*") if path.is_file()}
        return {path: meant(content) for path, content in found.items()} == {
            path: meant(content) for path, content in self.good.items()
        }

    def chain_whole(self) -> bool:
        found = self.ledger.read_bytes() if self.ledger.exists() else b""
        return meant(found) == meant(self.good.get(self.ledger, b""))

    def ready(self) -> bool:
        """Whether a line can be added: the chain is whole, and its last line agrees with its record."""
        if not self.chain_whole():
            return False
        lines = self.good.get(self.ledger, b"").splitlines()
        if not lines:
            return True
        last = self.results / json.loads(lines[-1])["path"]
        return last.exists() and meant(last.read_bytes()) == meant(self.good[last])

    def shortened(self) -> bool:
        """Whether only lines at the end are gone: a whole chain, which only its records and git know to be short."""
        found = self.ledger.read_bytes() if self.ledger.exists() else b""
        good = self.good.get(self.ledger, b"")
        return len(meant(found)) < len(meant(good)) and found in (b"", *prefixes(good))

    def publish_one(self) -> Path:
        record = self.fresh()
        path = published_path(record, self.results)
        write_record(record, path)
        self.good[path] = path.read_bytes()
        self.records[path] = record
        append(self.ledger, record, path)
        self.good[self.ledger] = self.ledger.read_bytes()
        return path

    @precondition(lambda self: self.ready())
    @rule()
    def publish(self) -> None:
        lines = self.good.get(self.ledger, b"")
        self.publish_one()
        assert self.good[self.ledger].startswith(lines)
        assert self.good[self.ledger].count(b"\n") == lines.count(b"\n") + 1

    @precondition(lambda self: not self.ready() and not self.shortened())
    @rule()
    def append_after_damage(self) -> None:
        """Refused, and the damaged file stays as it is: nobody's evidence is written over."""
        before = self.ledger.read_bytes() if self.ledger.exists() else None
        record = self.fresh()
        path = published_path(record, self.results)
        write_record(record, path)
        with pytest.raises(SpecForgeError, match="SF606"):
            append(self.ledger, record, path)
        path.unlink()
        assert (self.ledger.read_bytes() if self.ledger.exists() else None) == before

    @precondition(lambda self: self.ready())
    @rule(at=st.sampled_from(["write", "sync", "rename"]), of_ledger=st.booleans())
    def die(self, at: str, of_ledger: bool) -> None:
        """A process that ends while it writes leaves the record or the ledger as it was, and nothing of a new one."""
        record = self.fresh()
        path = published_path(record, self.results)
        if of_ledger:
            write_record(record, path)
            self.good[path], self.records[path] = path.read_bytes(), record
        child = os.fork()
        if child == 0:
            try:
                patch = pytest.MonkeyPatch()
                match at:
                    case "write":
                        patch.setattr(os, "getpid", lambda: os._exit(9))
                    case "sync":
                        patch.setattr(os, "fsync", lambda _: os._exit(9))
                    case "rename":
                        patch.setattr(Path, "replace", lambda *_: os._exit(9))
                if of_ledger:
                    append(self.ledger, record, path)
                else:
                    write_record(record, path)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        for leftover in self.results.rglob(".*"):
            assert leftover.name.startswith(".")
            leftover.unlink()
        if of_ledger:  # the record is there and on no line, which is said; publishing goes on from there
            assert any("stands on no line" in fault.message for fault in verify_ledger(self.ledger))
            append(self.ledger, record, path)
            self.good[self.ledger] = self.ledger.read_bytes()

    @precondition(lambda self: self.records)
    @rule(which=PLACE, where=SHARE, bit=st.integers(0, 7))
    def tamper(self, which: int, where: float, bit: int) -> None:
        path = sorted(self.good)[which % len(self.good)]
        content = bytearray(path.read_bytes()) if path.exists() else bytearray()
        if not content:
            return
        content[int(where * len(content))] ^= 1 << bit
        path.write_bytes(content)

    @precondition(lambda self: self.records)
    @rule(which=PLACE, where=SHARE)
    def cut(self, which: int, where: float) -> None:
        path = sorted(self.good)[which % len(self.good)]
        if path.exists():
            os.truncate(path, int(where * path.stat().st_size))

    @precondition(lambda self: len(self.records) > 1)
    @rule(which=PLACE)
    def drop_line(self, which: int) -> None:
        """Any line but the last, whose loss shows because its record stays."""
        lines = self.ledger.read_bytes().splitlines(keepends=True) if self.ledger.exists() else []
        if lines:
            lines.pop(which % len(lines))
            self.ledger.write_bytes(b"".join(lines))

    @precondition(lambda self: len(self.records) > 1)
    @rule(which=PLACE, other=PLACE)
    def swap(self, which: int, other: int) -> None:
        """One record in another's place."""
        paths = sorted(self.records)
        one, two = paths[which % len(paths)], paths[other % len(paths)]
        if one != two and one.exists() and two.exists():
            shutil.copy(one, two)

    @precondition(lambda self: self.records)
    @rule()
    def slip_in(self) -> None:
        """A record of good digest that was never published."""
        record = self.fresh()
        path = published_path(record, self.results)
        write_record(record, path)
        self.stray.add(path)

    @rule()
    def restore(self) -> None:
        """What git would do."""
        for path in self.stray:
            path.unlink(missing_ok=True)
        self.stray.clear()
        for path, content in self.good.items():
            path.write_bytes(content)
        assert verify_ledger(self.ledger) == []

    @invariant()
    def the_ledger_tells(self) -> None:
        if self.results.exists():
            assert (verify_ledger(self.ledger) == []) == self.whole()

    @invariant()
    def records_are_read_or_refused(self) -> None:
        for path, record in self.records.items():
            if path.exists() and meant(path.read_bytes()) == meant(self.good[path]):
                assert read_record(path) == record
            else:
                try:
                    found = read_record(path)
                except SpecForgeError as error:
                    found = None
                    codes = {fault.code for fault in error.diagnostics}
                assert found is not None or codes <= {"SF601", "SF602"}
                # else another whole record, or the same one in other bytes: it says who it is
                assert found is None or found in self.records.values()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
