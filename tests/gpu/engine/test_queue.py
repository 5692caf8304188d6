"""The measuring engine on a card: its queue of launches and its graphs. `-s` prints figures."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from specforge.backend.cuda import CudaRunner
from specforge.backend.runner import Runner
from specforge.backend.worker import TaskFailed, Worker
from specforge.measure.floors import measure_floors
from specforge.spec.geometry import Plan
from tests.gpu.engine.plans import read_plan

pytestmark = pytest.mark.gpu


def by_position(runner: Runner, work: tuple[Plan, str]) -> list[str]:
    """Medians by place in the queue of launches, each between two events, in many ways of queueing them."""
    from functools import partial

    from specforge.measure.residency import plan_residency

    assert isinstance(runner, CudaRunner)
    plan, binary = work
    residency = plan_residency(plan, runner.l2_bytes, runner.available_bytes())
    case = runner.prepare(plan, binary, copies=residency.copies, spare=residency.total)
    case.upload({b.name: np.ones(b.shape, b.element.numpy()) for b in plan.buffers if b.role == "in"})
    found = []

    def told(name: str, rows: list[list[float]]) -> None:
        middle = np.median(rows, axis=0) * 1e6
        base = float(np.median(middle))
        first = " ".join(f"{value:.2f}" for value in middle[:12])
        last = " ".join(f"{value:.2f}" for value in middle[-16:])
        found.append(f"  {name:44} median {base:.3f}; first {first}; last {last}")

    def settle() -> None:
        case.scrub(residency.total or 4 * runner.l2_bytes, 0)
        case.warm()
        case.launch(0)

    def take(count: int, *, turning: bool, **how: Any) -> list[float]:
        works = [partial(case.launch, 1 + number if turning else 0) for number in range(count)]
        return runner.time(works, **how)

    settle()
    case.wait()
    for count in (8, 50, 100):
        for turning in (True, False):
            rows = [take(count, turning=turning, lead=settle) for _ in range(40)]
            told(f"{count} in one queue, {'rotating' if turning else 'the same copy'}", rows)
    for trail in (1, 12, 30):
        rows = [take(50 + trail, turning=True, lead=settle)[:50] for _ in range(40)]
        told(f"50 in one queue, {trail} more behind them", rows)
    for together in (1, 4, 6, 8, 12, 16):
        rows = [take(48, turning=True, lead=partial(case.launch, 0), together=together) for _ in range(40)]
        told(f"48, {together} in one queue, one ahead of each", rows)
    for _ in range(2):
        runner.wait()
        time.sleep(0.01)
        rows = [take(50, turning=True, ahead=lambda _: runner.launch_empty()) for _ in range(40)]
        told("50 in one queue, an empty kernel ahead of each", rows)
    empty = [runner.time([runner.launch_empty] * 50, lead=runner.launch_empty) for _ in range(40)]
    told("50 empty kernels", empty)
    nothing = [runner.time([lambda: None] * 50, lead=runner.launch_empty) for _ in range(40)]
    told("50 times nothing", nothing)
    return found


@pytest.mark.parametrize("n", [1 << 14, 1 << 22])
def test_place_in_the_queue(worker: Worker, binary: str, references: dict[str, str], n: int) -> None:
    """Says where in a batch times differ, and what removes it; asserts nothing."""
    print(f"\nread {4 * n / 1e6:.1f} MB by place in the queue, us")
    lines = worker.call(by_position, (read_plan(n, references, "cold"), binary), timeout=100)
    print("\n".join(lines))


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
        return runner.time([runner.launch_empty] * count)
    finally:
        stopwatch.PATIENCE = before


def test_a_full_queue_is_an_error_and_no_hang(worker: Worker) -> None:
    told = ""
    try:
        seconds = worker.call(overfull, 5000, timeout=60)
        print(f"\n5000 launches fit into the queue: {np.median(seconds) * 1e6:.2f} us each")
    except TaskFailed as failed:
        told = failed.summary
        print(f"\n{told}")
    assert not told or "queue is full" in told
    assert worker.call(measure_floors, None, timeout=60).null["isolated"] < 6e-6
