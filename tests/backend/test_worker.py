"""Workers against real crashes, hangs, faults and the parent's own end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from specforge.backend.runner import KernelFault, Runner
from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.diagnostics import SpecForgeError, fail


def echo(runner: Runner, payload: object) -> tuple[str, int, object]:
    return runner.name, os.getpid(), payload


def crash(_: Runner, number: int) -> None:
    print("last words", flush=True)
    os.kill(os.getpid(), number)


def leave(_: Runner, status: int) -> None:
    os._exit(status)


def hang(_: Runner, seconds: float) -> None:
    time.sleep(seconds)


def raise_value_error(_: Runner, text: str) -> None:
    raise ValueError(text)


def call_exit(_: Runner, status: int) -> None:
    sys.exit(status)


def count(_: Runner, last: int, note: Callable[[int], None]) -> str:
    for number in range(last):
        note(number)
    return "done"


def note_and_end(_: Runner, status: int, note: Callable[[int], None]) -> None:
    note(status)
    os._exit(status)


def ask_another(_: Runner, text: str) -> None:
    with Worker("emulator") as inner:
        inner.call(raise_value_error, text, timeout=10)


def raise_fault(_: Runner, poisoned: bool) -> None:
    raise KernelFault("deadlock", "thread 3 waits for ever", poisoned=poisoned)


def raise_diagnostic(_: Runner, value: str) -> None:
    raise fail("SF507", "the reference is wrong", value=value)


def return_lambda(_: Runner, __: None) -> object:
    return lambda: None


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie still has a process id; it runs nothing.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid: int, within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker("emulator") as started:
        yield started


def test_runs_tasks_in_one_other_process(worker: Worker) -> None:
    name, pid, payload = worker.call(echo, {"a": (1, None)}, timeout=10)
    assert (name, payload) == ("emulator", {"a": (1, None)})
    assert pid != os.getpid()
    assert worker.call(echo, 2, timeout=10) == ("emulator", pid, 2)
    assert worker.pid == pid


def imported(_: Runner, module: str) -> tuple[bool, int]:
    return module in sys.modules, os.getpid()


def test_a_started_process_imports_ahead_of_its_first_call() -> None:
    with Worker("emulator", ("no.such.module", "wave")) as early, Worker("emulator") as late:
        early.start()
        pid = early.pid
        assert pid is not None
        assert not early.is_ready, "its runner was made before anybody asked"
        assert early.call(imported, "wave", timeout=10) == (True, pid)
        assert early.is_ready
        assert late.pid is None
        assert not late.call(imported, "wave", timeout=10)[0]


def test_a_process_that_died_before_its_first_call_is_started_anew() -> None:
    with Worker("emulator") as worker:
        worker.start()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        while alive(worker.pid):
            time.sleep(0.01)
        assert worker.call(echo, 1, timeout=10)[2] == 1


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "SIGKILL"), (signal.SIGABRT, "SIGABRT"), (signal.SIGBUS, "SIGBUS")],
)
def test_a_crash_names_its_signal_and_costs_one_task(worker: Worker, number: int, name: str) -> None:
    with pytest.raises(WorkerCrashed, match=f"killed by {name}") as caught:
        worker.call(crash, number, timeout=10)
    assert "last words" in caught.value.output
    assert worker.call(echo, 1, timeout=10)[0] == "emulator"


def test_an_exit_names_its_status(worker: Worker) -> None:
    with pytest.raises(WorkerCrashed, match="exit status 3"):
        worker.call(leave, 3, timeout=10)
    assert worker.call(echo, 1, timeout=10)[2] == 1


def test_a_hang_is_killed_in_time(worker: Worker) -> None:
    pid = worker.call(echo, 0, timeout=10)[1]
    start = time.monotonic()
    with pytest.raises(WorkerTimeout, match=r"0\.3 s"):
        worker.call(hang, 60.0, timeout=0.3)
    assert time.monotonic() - start < 2
    assert gone(pid)
    assert worker.call(echo, 1, timeout=10)[1] != pid


def test_a_process_that_died_between_tasks_is_replaced(worker: Worker) -> None:
    pid = worker.call(echo, 0, timeout=10)[1]
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    time.sleep(0.1)  # its other thread may end a moment later
    assert worker.call(echo, 1, timeout=10)[1] != pid


def test_an_exception_brings_its_traceback_and_leaves_the_process(worker: Worker) -> None:
    pid = worker.call(echo, 0, timeout=10)[1]
    with pytest.raises(TaskFailed, match="ValueError: no such thing") as caught:
        worker.call(raise_value_error, "no such thing", timeout=10)
    assert "in raise_value_error" in caught.value.trace
    with pytest.raises(TaskFailed, match="SystemExit"):
        worker.call(call_exit, 0, timeout=10)
    with pytest.raises(TaskFailed, match=r"return_lambda|pickle"):
        worker.call(return_lambda, None, timeout=10)
    assert worker.call(echo, 0, timeout=10)[1] == pid


def test_notes_come_in_order_and_before_the_result(worker: Worker) -> None:
    noted: list[int | str] = []
    noted.append(worker.follow(count, 1000, noted.append, timeout=20))
    assert noted == [*range(1000), "done"]
    assert worker.call(echo, 1, timeout=10)[2] == 1, "no note is left for the next task"


def test_notes_do_not_prolong_a_task(worker: Worker) -> None:
    worker.call(echo, 0, timeout=10)
    start = time.monotonic()
    with pytest.raises(WorkerTimeout, match=r"0\.3 s"):
        worker.follow(count, 1000, lambda _: time.sleep(0.01), timeout=0.3)  # there is always one to read
    assert time.monotonic() - start < 2


def test_a_process_that_ends_after_a_note_crashed(worker: Worker) -> None:
    noted: list[int] = []
    with pytest.raises(WorkerCrashed, match="exit status 3"):
        worker.follow(note_and_end, 3, noted.append, timeout=10)
    assert noted == [3]


def test_what_hears_a_note_may_fail_for_itself(worker: Worker) -> None:
    """A closed pipe of the parent's own, as progress may meet, is no crash of the process, which is ended."""
    pid = worker.call(echo, 0, timeout=10)[1]

    def closed(_: int) -> None:
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError, match="nobody reads"):
        worker.follow(count, 3, closed, timeout=10)
    assert gone(pid)
    assert worker.call(echo, 1, timeout=10)[2] == 1


def test_what_failed_in_a_tasks_own_worker_is_told_as_it_was(worker: Worker) -> None:
    with pytest.raises(TaskFailed) as caught:
        worker.call(ask_another, "no such thing", timeout=20)
    assert caught.value.summary == "ValueError: no such thing"
    assert "in raise_value_error" in caught.value.trace
    assert "in ask_another" not in caught.value.trace


@pytest.mark.parametrize("poisoned", [False, True])
def test_a_kernel_fault_arrives_whole(worker: Worker, poisoned: bool) -> None:
    pid = worker.call(echo, 0, timeout=10)[1]
    with pytest.raises(KernelFault) as caught:
        worker.call(raise_fault, poisoned, timeout=10)
    fault = caught.value
    assert (fault.kind, fault.message, fault.poisoned) == ("deadlock", "thread 3 waits for ever", poisoned)
    assert (worker.call(echo, 0, timeout=10)[1] != pid) is poisoned


def test_diagnostics_arrive_as_such(worker: Worker) -> None:
    with pytest.raises(SpecForgeError) as caught:
        worker.call(raise_diagnostic, "x", timeout=10)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.value) == ("SF507", "x")


def test_an_unknown_backend_is_a_diagnostic() -> None:
    with Worker("abacus") as worker, pytest.raises(SpecForgeError, match="SF702"):
        worker.call(echo, 0, timeout=10)


def test_only_module_level_functions_are_tasks(worker: Worker) -> None:
    with pytest.raises(ValueError, match="module-level"):
        worker.call(lambda runner, payload: payload, 1, timeout=10)


def test_large_payloads_pass(worker: Worker) -> None:
    block = os.urandom(1 << 22)
    assert worker.call(echo, block, timeout=10)[2] == block


def test_two_workers_in_two_threads() -> None:
    found: dict[int, list[int]] = {}

    def use(number: int) -> None:
        with Worker("emulator") as worker:
            found[number] = [worker.call(echo, turn, timeout=20)[1] for turn in range(20)]
            with pytest.raises(WorkerCrashed):
                worker.call(crash, signal.SIGSEGV, timeout=20)
            found[number].append(worker.call(echo, 0, timeout=20)[1])

    threads = [threading.Thread(target=use, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    pids = {number: set(seen) for number, seen in found.items()}
    assert [len(pids[number]) for number in range(2)] == [2, 2]
    assert not pids[0] & pids[1]


def test_a_worker_outlives_the_thread_that_started_it(worker: Worker) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(worker.call(echo, 0, timeout=10)[1]))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert worker.call(echo, 0, timeout=10)[1] == found[0]


def test_close_ends_a_call_in_another_thread() -> None:
    worker = Worker("emulator")
    pid = worker.call(echo, 0, timeout=10)[1]
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            worker.call(hang, 60.0, timeout=60)
        except WorkerCrashed as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    worker.close()
    thread.join(5)
    assert caught
    assert gone(pid)
    with pytest.raises(WorkerCrashed, match="closed"):
        worker.call(echo, 0, timeout=10)


PARENT = """
import sys, time
sys.path.insert(0, {folder!r})
import parent_tasks
from specforge.backend.worker import Worker
with Worker("emulator") as worker:
    print(worker.call(parent_tasks.pid, None, timeout=10), flush=True)
    worker.call(parent_tasks.spin, None, timeout=60)
"""
TASKS = """
import os
def pid(runner, payload): return os.getpid()
def spin(runner, payload):
    while True: sum(range(100_000))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_orphan_when_the_parent_ends(tmp_path: Path, number: int) -> None:
    (tmp_path / "parent_tasks.py").write_text(TASKS)
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", PARENT.format(folder=str(tmp_path))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        time.sleep(0.1)
        start = time.monotonic()
        parent.send_signal(number)
        parent.communicate(timeout=5)
        assert gone(pid, within=3)
        assert time.monotonic() - start < 3
        assert parent.returncode == (-number if number != signal.SIGINT else parent.returncode)
        assert parent.returncode != 0


def test_an_idle_worker_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "from specforge.backend.worker import Worker\nimport parent_tasks\n"
        "w = Worker('emulator')\nprint(w.call(parent_tasks.pid, None, timeout=10))\nimport os\nos._exit(0)"
    )
    (tmp_path / "parent_tasks.py").write_text(TASKS)
    root = str(Path(__file__).parents[2])
    start = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, cwd=root, check=True)
    assert gone(int(done.stdout))
