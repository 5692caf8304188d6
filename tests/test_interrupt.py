"""Ctrl-C reaches a main thread that waits, whichever thread the system gives it to."""

from __future__ import annotations

import subprocess
import sys

import pytest

WAITING = """\
import signal
import sys
import threading
import time
from contextlib import nullcontext

from specforge.cli.interrupt import heard


def take():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


signal.signal(signal.SIGINT, signal.default_int_handler)
with heard() if sys.argv[1] == "heard" else nullcontext():
    threading.Thread(target=take).start()
    lock = threading.Lock()
    lock.acquire()
    try:
        started = time.monotonic()
        lock.acquire(timeout=4)
    except KeyboardInterrupt:
        print(time.monotonic() - started)
"""


@pytest.mark.parametrize("how", ["heard", "unheard"])
def test_a_signal_of_another_thread_wakes_the_main_one(how: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", WAITING, how], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    waited = float(found.stdout)
    assert waited < 3 if how == "heard" else waited >= 4


def test_nothing_is_left_of_it() -> None:
    script = (
        "import os, signal, threading\n"
        "from specforge.cli.interrupt import heard\n"
        "before = sorted(os.listdir('/proc/self/fd'))\n"
        "with heard():\n"
        "    assert threading.active_count() == 2\n"
        "assert sorted(os.listdir('/proc/self/fd')) == before\n"
        "assert threading.active_count() == 1\n"
        "assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL\n"
        "assert signal.set_wakeup_fd(-1) == -1\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
