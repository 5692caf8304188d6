"""One run at a time on a card: a file lock that its holder's end releases, however that comes."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from specforge.diagnostics import fail

POLL = 0.1
"""Seconds between two tries."""


class CardBusy(Exception):
    """Others use the card and did not let go of it in time; the text says who."""


@contextmanager
def hold_card(
    locks: Path,
    uuid: str,
    *,
    wait: float,
    purpose: str = "specforge",
    tell: Callable[[str], None] = lambda reason: None,
) -> Iterator[None]:
    """Hold the card with this UUID for the length of a block.

    The lock is a file in the folder `locks`, so it binds runs that share that folder: all of one user on one machine,
    whichever checkout they run from. Waits up to `wait` seconds, then raises CardBusy; `tell` is called once where it
    has to wait. `purpose` is what others are told, with this process's id and the time. Raises SF703 where the folder
    is not the user's own.
    """
    path = card_file(locks, uuid, "lock")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline, told = time.monotonic() + wait, False
        while not _try(file):
            holder = os.pread(file, 4096, 0).decode(errors="replace").strip() or "another run"
            if time.monotonic() >= deadline:
                raise CardBusy(f"card {uuid} is held by {holder}; waited {wait:g} s")
            if not told:
                tell(f"waiting for {holder}")
                told = True
            time.sleep(POLL)
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        os.ftruncate(file, 0)
        os.pwrite(file, f"{purpose}, process {os.getpid()}, since {since}\n".encode(), 0)
        yield
        os.ftruncate(file, 0)
    finally:
        os.close(file)  # releases the lock; the file stays: removing it would let two runs lock two files of one name


def card_file(locks: Path, uuid: str, suffix: str) -> Path:
    """The file that a user's runs share about one card, in a folder that is made where it is missing.

    Raises SF703 where the folder is not the user's own or others may write to it: it stands in a public place.
    """
    try:
        locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = locks.lstat()
    except OSError as error:
        raise fail(
            "SF703", f"the folder of locks cannot be made: {error.strerror}", value=str(locks), hint=_HINT
        ) from None
    fault = None
    if not stat.S_ISDIR(found.st_mode):
        fault = "is no folder"
    elif found.st_uid != os.geteuid():
        fault = f"belongs to user {found.st_uid}, not to you"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        fault = "may be written to by others"
    if fault is not None:
        raise fail("SF703", f"the folder of locks {fault}", value=str(locks), hint=_HINT)
    return locks / f"{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.{suffix}"


_HINT = "name a folder of your own in SPECFORGE_LOCKS, the same one for all your runs on this machine"


def _try(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
