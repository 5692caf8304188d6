"""The measuring engine on a card: its queue of launches and its graphs. `-s` prints figures."""

from __future__ import annotations

import numpy as np
import pytest

from specforge.backend.cuda import CudaRunner
from specforge.backend.runner import Runner
from specforge.backend.worker import TaskFailed, Worker
from specforge.measure.floors import measure_floors

pytestmark = pytest.mark.gpu


def empty_times(runner: Runner, count: int) -> list[float]:
    """Times of launches that do nothing, each between two events."""
    assert isinstance(runner, CudaRunner)
    runner.launch_empty()
    return runner.time([runner.launch_empty] * count)


def test_nothing_comes_between_two_events(worker: Worker) -> None:
    """Where more work reaches the queue meanwhile, a good part of the samples takes 0.7 us longer."""
    seconds = np.sort(worker.call(empty_times, 400, timeout=60))
    late = float(np.mean(seconds > seconds[20] + 0.4e-6))
    print(f"\nempty kernel {np.median(seconds) * 1e6:.2f} us, {late:.1%} of the launches 0.4 us above the best")
    assert late < 0.05


def many_graphs(runner: Runner, count: int) -> tuple[int, int]:
    """Memory of the card that is free before and after capturing and replaying many graphs."""
    assert isinstance(runner, CudaRunner)

    def enqueue() -> None:
        for _ in range(256):
            runner.launch_empty()

    def one() -> None:
        with runner.captured(enqueue) as replay:
            replay()

    one()
    before = runner.available_bytes()
    for _ in range(count):
        one()
    return before, runner.available_bytes()


def test_graphs_leave_nothing_behind(worker: Worker) -> None:
    before, after = worker.call(many_graphs, 300, timeout=60)
    print(f"\nfree memory {before / 2**20:.0f} MiB, after 300 graphs {after / 2**20:.0f} MiB")
    assert before - after < 16 << 20


def broken_capture(runner: Runner, _: None) -> float:
    """The time of an empty kernel after a capture that ended in an exception."""
    assert isinstance(runner, CudaRunner)

    def enqueue() -> None:
        runner.launch_empty()
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), runner.captured(enqueue):
            pass
    return runner.time([runner.launch_empty] * 3)[1]


def test_a_broken_capture_leaves_the_stream_usable(worker: Worker) -> None:
    assert 0 < worker.call(broken_capture, None, timeout=60) < 1e-3


def overfull(runner: Runner, count: int) -> list[float]:
    """Far more behind a held stream than the driver's queue takes."""
    from specforge.backend import stopwatch

    assert isinstance(runner, CudaRunner)
    before, stopwatch.PATIENCE = stopwatch.PATIENCE, 1.0
    try:
        return runner.time([lambda: [runner.launch_empty() for _ in range(count)] and None])
    finally:
        stopwatch.PATIENCE = before


def test_a_full_queue_is_an_error_and_no_hang(worker: Worker) -> None:
    told = ""
    try:
        seconds = worker.call(overfull, 5000, timeout=60)
        print(f"\n5000 launches fit into the queue: {seconds[0] / 5000 * 1e6:.2f} us each")
    except TaskFailed as failed:
        told = failed.summary
        print(f"\n{told}")
    assert not told or "queue is full" in told
    assert worker.call(measure_floors, None, timeout=60).null["isolated"] < 6e-6
