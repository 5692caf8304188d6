"""Ctrl-C that reaches a main thread that waits.

Python's handlers run in the main thread when it next looks, and one that waits for a lock looks when a signal wakes it.
Linux gives a signal of a process to any of its threads, though: of 6.18, beside busy processors, 8 Ctrl-C of 42 were
another thread's, and were lost until the wait had ended.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WAKES, PAUSE = 10, 0.05
"""So often the main thread is woken, seconds apart: the first may come just before it falls asleep."""


@contextmanager
def heard() -> Iterator[None]:
    """Have every signal that has a handler wake the main thread, which alone may ask for that."""
    main = threading.get_ident()
    if main != threading.main_thread().ident:
        yield
        return
    end, told = os.pipe()
    os.set_blocking(told, False)
    over = threading.Event()

    def wake() -> None:
        while said := os.read(end, 1):
            for _ in range(WAKES if said[0] != signal.SIGURG else 0):
                signal.pthread_kill(main, signal.SIGURG)
                if over.wait(PAUSE):
                    return

    usual = signal.signal(signal.SIGURG, lambda *_: None)  # nobody else uses it, and unheard it is ignored
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    waker = threading.Thread(target=wake, name="interrupt", daemon=True)
    waker.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(told)
        waker.join()
        os.close(end)
        signal.signal(signal.SIGURG, usual)
