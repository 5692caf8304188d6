"""One run at a time on a card: a file lock that its holder's end releases, however that comes."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL = 0.1
"""Seconds between two tries."""


class CardBusy(Exception):
    """Another run holds the card and did not let go in time. `holder` says who, as that run wrote it."""

    def __init__(self, uuid: str, holder: str, waited: float) -> None:
        super().__init__(f"card {uuid} is held by {holder or 'another run'}; waited {waited:g} s")
        self.uuid = uuid
        self.holder = holder


@contextmanager
def hold_card(state: Path, uuid: str, *, wait: float, purpose: str = "specforge") -> Iterator[None]:
    """Hold the card with this UUID for the length of a block.

    The lock is a file under `state`, so it binds runs that share that folder. Waits up to `wait` seconds, then raises
    CardBusy. `purpose` is what others are told, with this process's id and the time.
    """
    folder = state / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + wait
        while not _try(file):
            if time.monotonic() >= deadline:
                raise CardBusy(uuid, os.pread(file, 4096, 0).decode(errors="replace").strip(), wait)
            time.sleep(POLL)
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        os.ftruncate(file, 0)
        os.pwrite(file, f"{purpose}, process {os.getpid()}, since {since}\n".encode(), 0)
        yield
        os.ftruncate(file, 0)
    finally:
        os.close(file)  # releases the lock; the file stays: removing it would let two runs lock two files of one name


def _try(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
