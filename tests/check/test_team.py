"""Processes that work side by side: what was submitted is done when the block ends, and nothing is after Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.check.team import Team


def wait(_: Runner, seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_what_was_submitted_is_done() -> None:
    with Team("emulator", 2) as team:
        done = [team.submit(lambda worker: worker.call(wait, 0.01, timeout=60)) for _ in range(5)]
    assert [one.result(0) for one in done] == [0.01] * 5


def test_ctrl_c_while_it_is_waited_for_ends_it() -> None:
    started, workers = threading.Event(), list[Worker]()

    def errand(worker: Worker) -> float:
        workers.append(worker)
        worker.call(wait, 0.0, timeout=60)
        started.set()
        return worker.call(wait, 600.0, timeout=900)

    def interrupt() -> None:
        started.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt), Team("emulator", 1) as team:
        done = [team.submit(errand) for _ in range(3)]
    assert done[0].exception(60) is not None
    assert all(one.cancelled() for one in done[1:])
    assert [worker.pid for worker in workers] == [None]
