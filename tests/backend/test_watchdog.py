"""What ends a held stream: it acts once it was armed too long, again and again, and never after it was disarmed."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time

import pytest

from specforge.backend import watchdog
from specforge.backend.watchdog import Watchdog


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK", 0.01)
    monkeypatch.setattr(watchdog, "AGAIN", 0.001)


def acted(calls: list[float], count: int, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while len(calls) < count and time.monotonic() < end:
        time.sleep(0.001)
    return len(calls) >= count


def watching(found: Watchdog) -> threading.Thread:
    assert found._thread is not None
    return found._thread


def test_armed_too_long_it_acts_until_it_is_disarmed() -> None:
    calls: list[float] = []
    found = Watchdog(lambda: calls.append(time.monotonic()))
    armed = time.monotonic()
    found.arm(0.05)
    assert acted(calls, 3)
    assert calls[0] >= armed + 0.05
    assert found.disarm()
    count = len(calls)
    time.sleep(0.05)
    assert len(calls) == count


def test_disarmed_in_time_it_never_acts() -> None:
    calls: list[float] = []
    found = Watchdog(lambda: calls.append(0.0))
    for _ in range(100):
        found.arm(0.5)
        assert not found.disarm()
    time.sleep(0.6)
    assert calls == []


def test_each_arming_counts_for_itself() -> None:
    calls: list[float] = []
    found = Watchdog(lambda: calls.append(0.0))
    found.arm(0.0)
    assert acted(calls, 1)
    assert found.disarm()
    first = watching(found)
    found.arm(60.0)
    assert not found.disarm()
    count = len(calls)
    found.arm(0.0)
    assert acted(calls, count + 1)
    assert found.disarm()
    assert watching(found) is first


def test_it_does_not_act_while_it_is_being_disarmed() -> None:
    """What comes after is another stretch of work, which a late act would spoil unseen."""
    inside, calls = threading.Event(), list[float]()

    def act() -> None:
        inside.set()
        time.sleep(0.05)
        calls.append(0.0)

    found = Watchdog(act)
    found.arm(0.0)
    assert inside.wait(5)
    found.disarm()
    count = len(calls)
    assert count >= 1
    time.sleep(0.1)
    assert len(calls) == count


def test_its_thread_ends_with_it() -> None:
    found = Watchdog(lambda: None)
    found.arm(60.0)
    thread = watching(found)
    found.disarm()
    del found
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_an_armed_one_keeps_no_process_alive() -> None:
    script = "from specforge.backend.watchdog import Watchdog; w = Watchdog(lambda: None); w.arm(3600); print('armed')"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "armed\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_it_starts_anew_in_a_forked_process() -> None:
    calls: list[float] = []
    found = Watchdog(lambda: calls.append(0.0))
    found.arm(60.0)
    child = os.fork()
    if child == 0:
        try:
            found.arm(0.0)
            os._exit(0 if acted(calls, 1) and found.disarm() else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert not found.disarm()
    assert calls == []
