"""A mutant runs in a process of its own: what it does there reaches no other, and every way to end is told apart."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.runner import Execution, KernelFault
from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed
from specforge.mutate import apart
from specforge.mutate.run import find
from specforge.mutate.trial import cause
from specforge.verify import reference
from specforge.verify.example import Example, Task, plan_example
from tests.mutate.conftest import Home


def right(inputs: dict[str, np.ndarray]) -> Execution:
    """What the kernel does."""
    return Execution({"y": inputs["x"] + 3}, ())


def wrong(inputs: dict[str, np.ndarray]) -> Execution:
    """What a mutant may do."""
    return Execution({"y": inputs["x"] - 3}, ())


def crash(_: dict[str, np.ndarray]) -> Execution:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def hang(_: dict[str, np.ndarray]) -> Execution:
    while True:
        pass


def fault(_: dict[str, np.ndarray]) -> Execution:
    raise KernelFault("shuffle", "lane 3 is not there")


def spoil(inputs: dict[str, np.ndarray]) -> Execution:
    """Write over what the process holds: the inputs, and the code of references, so that nothing is right any more."""
    inputs["x"][:] = 7
    reference.call_reference = lambda *_: {"y": np.zeros(5, np.int64)}
    return wrong(inputs)


def lose(_: dict[str, np.ndarray]) -> Execution:
    """What Python stumbles over when its memory was written over."""
    raise ValueError("bad marshal data")


WAYS: dict[str, Callable[[dict[str, np.ndarray]], Execution]] = {
    way.__name__: way for way in (right, wrong, crash, hang, fault, spoil, lose)
}


class Played:
    """A runner whose binaries are functions of this module."""

    name = "played"

    def run(self, _plan: object, binary: str, inputs: dict[str, np.ndarray], **_: object) -> Execution:
        """As a runner's."""
        return WAYS[binary](inputs)


@pytest.fixture
def start(home: Home) -> Callable[..., list[apart.Answer]]:
    """Run examples of the tiny kernel, each with a function in the place of its binary, in one child."""
    kernel = find(str(home.kernel))
    example = Example({"n": 5, "dtype": "i32"}, seed=4)

    def run(*ways: str, rounds: int = 0, limit: float = 0.0) -> list[apart.Answer]:
        tasks = [Task(plan_example(kernel, example, {}), way, example, rounds) for way in ways]
        return apart.run_apart(Played(), (tasks, [limit] * len(tasks)))

    return run


@pytest.mark.parametrize(
    ("way", "by"),
    [("wrong", "wrong"), ("crash", "crash"), ("hang", "hang"), ("fault", "shuffle")],
)
def test_what_kills_is_told(start: Callable[..., list[apart.Answer]], way: str, by: str) -> None:
    answers = start("right", way, "right", limit=0.2)
    assert [answer.result.passed for answer in answers] == [True, False]
    assert cause(answers[-1].result) == by


def test_what_passes_is_timed(start: Callable[..., list[apart.Answer]]) -> None:
    answers = start("right", "right", rounds=2)
    assert [answer.result.passed for answer in answers] == [True, True]
    assert all(answer.seconds > 0 for answer in answers)


def test_a_process_that_a_mutant_spoilt_runs_no_other_one(start: Callable[..., list[apart.Answer]]) -> None:
    before = reference.call_reference
    assert not start("spoil")[-1].result.passed
    assert reference.call_reference is before
    # In the spoilt process the right one would fail, with fresh values and with those that were kept.
    assert all(answer.result.passed for answer in start("right", "right", rounds=1))
    assert not start("wrong")[-1].result.passed


def test_a_process_that_python_lost_proves_nothing(start: Callable[..., list[apart.Answer]]) -> None:
    with pytest.raises(RuntimeError, match="bad marshal data"):
        start("right", "lose")
    assert all(answer.result.passed for answer in start("right"))


def leave(_runner: object, path: str) -> None:
    """Fork a child that would outlive its worker, and hang."""

    class Left(Played):
        def run(self, *_: object, **__: object) -> Execution:
            Path(path).write_text(str(os.getpid()))
            return hang({})

    kernel = find("test/increase")
    example = Example({"n": 5, "dtype": "i32"})
    apart.run_apart(Left(), ([Task(plan_example(kernel, example, {}), "", example)], [0.0]))


def test_a_child_ends_with_its_worker(home: Home) -> None:
    told = home.folder / "pid"
    with Worker("emulator") as worker, ThreadPoolExecutor(1) as pool:
        call = pool.submit(worker.call, leave, str(told), timeout=300)
        while not call.done() and not (told.is_file() and told.read_text()):
            time.sleep(0.02)
        child = int(told.read_text())
        assert alive(child)
        worker.close()
        assert isinstance(call.exception(), WorkerCrashed)
    late = time.monotonic() + 60
    while alive(child) and time.monotonic() < late:
        time.sleep(0.02)
    assert not alive(child)


def alive(child: int) -> bool:
    """Whether a process runs; what nobody waits for may stay as a zombie."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_failure_of_python_in_a_worker_is_no_verdict(home: Home) -> None:
    kernel = find(str(home.kernel))
    example = Example({"n": 5, "dtype": "i32"})
    with Worker("emulator") as worker, pytest.raises(TaskFailed):
        apart.run(worker, [Task(plan_example(kernel, example, {}), "no such library", example)], {})
