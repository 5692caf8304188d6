"""A content-addressed store of build results: one folder per key, whole or absent.

An entry is written beside its final place and renamed into it, so that readers, concurrent writers and an
interrupted build never see half of one. Every file's digest stands in `meta.json`; an entry that does not match its
own digests counts as absent and is replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specforge.diagnostics import fail

_META = "meta.json"
_ATTEMPTS = 10
_STALE_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored result: the folder, what its maker noted, and the SHA-256 of every file."""

    folder: Path
    facts: dict[str, Any]
    digests: dict[str, str]


class Cache:
    """Entries under a folder, which is created with the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Entry | None:
        """The entry of that key, or None where there is none or a damaged one."""
        folder = self.folder / key
        try:
            meta = json.loads((folder / _META).read_bytes())
            facts, digests = meta["facts"], meta["files"]
            whole = meta["sha256"] == _digest_of(facts, digests) and all(
                _sha256((folder / name).read_bytes()) == digest for name, digest in digests.items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return Entry(folder, facts, digests) if whole else None

    def publish(self, key: str, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> Entry:
        """Store files under a key; where somebody else was faster, their entry stands. SF701 where it cannot write."""
        digests = {name: _sha256(content) for name, content in files.items()}
        meta = {"facts": dict(facts), "files": digests, "sha256": _digest_of(facts, digests)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self.folder, ignore_cleanup_errors=True) as scratch:
                made = Path(scratch) / "entry"
                made.mkdir()
                for name, content in files.items():
                    (made / name).write_bytes(content)
                (made / _META).write_text(json.dumps(meta, indent=1, sort_keys=True), encoding="utf-8")
                standing = self._install(key, made, Path(scratch) / "old")
        except OSError as error:
            raise fail(
                "SF701",
                f"cannot write to the cache {self.folder}: {error.strerror or error}",
                hint="set SPECFORGE_STATE to a folder that can be written",
            ) from None
        return standing or Entry(self.folder / key, dict(facts), digests)

    def _install(self, key: str, made: Path, old: Path) -> Entry | None:
        """Rename into place; gives the entry that stood there whole already. A damaged one steps aside.

        One writer at a time replaces: another could take the first one's fresh entry for the damaged one it has seen.
        """
        try:
            made.rename(self.folder / key)
        except OSError:
            pass
        else:
            return None
        with self._locked():
            for attempt in range(_ATTEMPTS):
                standing = self.find(key)
                if standing is not None:
                    return standing
                with contextlib.suppress(FileNotFoundError):  # somebody cleared it away by hand
                    (self.folder / key).rename(old.with_name(f"old{attempt}"))
                try:
                    made.rename(self.folder / key)
                except OSError:
                    continue  # a writer who found the place empty
                return None
        raise OSError(f"entry {key} cannot be replaced")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        """Remove what killed builders left behind more than a day ago."""
        for leftover in self.folder.glob(".new-*"):
            try:
                age = time.time() - leftover.stat().st_mtime
            except OSError:
                continue  # its owner has just finished
            if age > _STALE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


def key_of(parts: Mapping[str, Any]) -> str:
    """The key of whatever a result depends on: the digest of its canonical JSON."""
    return _sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def _digest_of(facts: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    return key_of({"facts": dict(facts), "files": dict(digests)})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
