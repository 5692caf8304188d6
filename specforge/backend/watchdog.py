"""One thread that sees to it that nothing is held for too long, however often something is."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

LOOK = 0.25
"""Seconds between two looks at the deadline: what is held too long is let go at most so much later."""
AGAIN = 0.01
"""Seconds between two acts while it stays armed: what comes next may be held as well."""


class Watchdog:
    """Acts while it has been armed for longer than its patience; arming and disarming take a microsecond.

    A thread for each time would take 90. This one starts with the first arming, looks now and then, and ends with its
    watchdog or with the process, which it never keeps alive; in a forked process it starts anew.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._fired = False
        self._thread: threading.Thread | None = None

    def arm(self, patience: float) -> None:
        """Act from so many seconds from now on."""
        if self._thread is None or not self._thread.is_alive():
            self._lock = threading.Lock()  # one that a fork may have left locked is nobody's
            self._thread = threading.Thread(target=_watch, args=(weakref.ref(self),), daemon=True)
            self._thread.start()
        with self._lock:
            self._deadline, self._fired = time.monotonic() + patience, False

    def disarm(self) -> bool:
        """Act no more, not even once; true where it has acted since it was armed."""
        with self._lock:
            self._deadline = None
            return self._fired

    def look(self) -> bool:
        """Act where it is time to; whether it was."""
        with self._lock:
            if self._deadline is None or time.monotonic() < self._deadline:
                return False
            self._fired = True
            self._act()
            return True


def _watch(watchdog: weakref.ref[Watchdog]) -> None:
    pause = LOOK
    while True:
        time.sleep(pause)
        watched = watchdog()
        if watched is None:
            return
        pause = AGAIN if watched.look() else LOOK
        del watched  # or it would live for as long as this thread sleeps
