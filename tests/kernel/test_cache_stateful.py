"""The cache against a dictionary, with writers that run between each other's steps, die anywhere, and find damage.

A step is a call into the file system. A writer is stopped at any of them and another one publishes, reads or damages
entries there, as a second process would; or it dies there, which leaves on disk what a killed process leaves.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from specforge.diagnostics import SpecForgeError
from specforge.kernel.cache import Cache

KEYS = st.sampled_from(["a", "b"])
CONTENT = st.binary(max_size=6)
STEPS = ("mkdir", "write_bytes", "write_text", "rename", "glob")


def counted(name: str, real: Callable, made: list[str], at: int, what: Callable[[], None]) -> Callable:
    def step(path: Path, *arguments: object, **options: object) -> object:
        made.append(name)
        if len(made) == at + 1:
            what()
        return real(path, *arguments, **options)

    return step


@contextlib.contextmanager
def interrupted(at: int, what: Callable[[], None]) -> Iterator[list[str]]:
    """Call `what` once, before step `at`; gives the names of the steps that were made."""
    made: list[str] = []
    patch = pytest.MonkeyPatch()
    try:
        for name in STEPS:
            patch.setattr(Path, name, counted(name, getattr(Path, name), made, at, what))
        yield made
    finally:
        patch.undo()


def locked(folder: Path) -> bool:
    """Whether a writer is replacing a damaged entry just now."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class CacheMachine(RuleBasedStateMachine):
    """`model` holds the content and the fact of every entry that is whole."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="specforge-cache-"))
        self.cache = Cache(self.folder)
        self.model: dict[str, tuple[bytes, int]] = {}

    def store(self, key: str, content: bytes, fact: int) -> None:
        self.model.setdefault(key, (content, fact))
        entry = self.cache.publish(key, {"data": content, "log": b""}, {"fact": fact})
        self.agree(key, entry)

    def agree(self, key: str, entry) -> None:
        assert ((entry.folder / "data").read_bytes(), entry.facts["fact"]) == self.model[key]

    @rule(key=KEYS, content=CONTENT, fact=st.integers(0, 3))
    def publish(self, key: str, content: bytes, fact: int) -> None:
        self.store(key, content, fact)

    @rule(key=KEYS, mine=CONTENT, others=CONTENT, at=st.integers(0, 8), same=st.booleans())
    def publish_between(self, key: str, mine: bytes, others: bytes, at: int, same: bool) -> None:
        """Another process publishes, the same key or the other one, between two steps of this one."""
        other = key if same else "ab".replace(key, "")
        absent = key not in self.model

        def publish() -> None:
            if not locked(self.folder):  # else the other process waits, and comes after this one
                self.store(other, others, 5)

        with interrupted(at, publish):
            entry = self.cache.publish(key, {"data": mine, "log": b""}, {"fact": 4})
        if absent and key not in self.model:
            self.model[key] = (mine, 4)
        self.agree(key, entry)

    @rule(key=KEYS, content=CONTENT, at=st.integers(0, 8))
    def die(self, key: str, content: bytes, at: int) -> None:
        """A writer, a process of its own, ends before one of its steps: nothing of it cleans up."""
        child = os.fork()
        if child == 0:
            try:
                with interrupted(at, lambda: os._exit(9)):
                    self.cache.publish(key, {"data": content, "log": b""}, {"fact": 6})
                os._exit(0)
            finally:
                os._exit(1)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (0, 9)
        found = self.cache.find(key)
        if key not in self.model and found is not None:  # it died after its rename
            self.model[key] = (content, 6)
        assert ended == 9 or found is not None

    @rule(key=KEYS, how=st.sampled_from(["change", "shorten", "remove", "meta", "empty", "file", "link"]))
    def damage(self, key: str, how: str) -> None:
        folder = self.folder / key
        if key not in self.model:
            return
        content, _ = self.model.pop(key)
        match how:
            case "change":
                (folder / "data").write_bytes(content + b"!")
            case "shorten":
                (folder / "meta.json").write_bytes((folder / "meta.json").read_bytes()[:20])
            case "remove":
                (folder / "log").unlink()
            case "meta":
                (folder / "meta.json").unlink()
            case "empty":
                shutil.rmtree(folder)
                folder.mkdir()
            case "file":
                shutil.rmtree(folder)
                folder.write_bytes(b"not a folder")
            case "link":
                shutil.rmtree(folder)
                folder.symlink_to(self.folder / "nowhere")

    @rule(key=KEYS, at=st.integers(0, 8), content=CONTENT)
    def damage_between(self, key: str, at: int, content: bytes) -> None:
        """Damage, while somebody publishes, leaves that one's entry or none: never half of one."""

        def spoil() -> None:
            if (self.folder / key / "data").is_file():
                (self.folder / key / "data").write_bytes(b"spoilt, and longer than any")

        with interrupted(at, spoil):
            self.cache.publish(key, {"data": content, "log": b""}, {"fact": 7})
        found = self.cache.find(key)
        self.model.pop(key, None)
        if found is not None:
            self.model[key] = ((found.folder / "data").read_bytes(), found.facts["fact"])
            assert b"spoilt" not in self.model[key][0]

    @rule()
    def a_day_passes(self) -> None:
        for leftover in self.folder.glob(".new-*"):
            os.utime(leftover, (time.time() - 90_000,) * 2)

    @rule(key=KEYS)
    def full_disk(self, key: str) -> None:
        """What cannot be written is SF701 and leaves what was there."""

        def refuse() -> None:
            raise OSError(28, "No space left on device")

        if key in self.model:
            return
        with interrupted(3, refuse), pytest.raises(SpecForgeError, match="SF701"):
            self.cache.publish(key, {"data": b"x", "log": b""}, {"fact": 8})

    @invariant()
    def agrees(self) -> None:
        for key in ("a", "b"):
            found = self.cache.find(key)
            assert (found is None) == (key not in self.model), key
            if found is not None:
                self.agree(key, found)

    @invariant()
    def nothing_else_lies_about(self) -> None:
        for path in self.folder.iterdir():
            assert path.name in ("a", "b") or path.name.startswith(".new-"), path

    def teardown(self) -> None:
        self.a_day_passes()
        self.store("a", b"last", 9)
        assert not list(self.folder.glob(".new-*"))
        shutil.rmtree(self.folder)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
