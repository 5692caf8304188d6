"""A disposable process that runs tasks against one runner: what crashes or hangs there costs one task, not the run."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from specforge.backend.runner import KernelFault, Runner
from specforge.backend.task import refer
from specforge.diagnostics import SpecForgeError

if TYPE_CHECKING:
    from typing import IO

N = TypeVar("N")
P = TypeVar("P")
R = TypeVar("R")

START_TIMEOUT = 120.0
"""Seconds a new process may take until its runner is ready: CUDA on a busy machine with many cards is slow to start."""

THREADS = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""What a worker's environment says where the user's does not: workers run side by side, and references multiply small
matrices, for which BLAS's threads wait for each other longer than they compute (8x the time on 2 cores)."""

_LARGEST = str(1 << 30)
MEMORY = {"MALLOC_MMAP_THRESHOLD_": _LARGEST, "MALLOC_TRIM_THRESHOLD_": _LARGEST}
"""The same, so that glibc keeps what a reference gives back: it allocates as much again a moment later, and having the
system map and clear the pages of every large array anew took a fifth of the checker's time."""

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_CHILD = "import sys; sys.path.insert(0, sys.argv[2]); from specforge.backend.serve import main; main(int(sys.argv[1]))"


class WorkerCrashed(Exception):
    """The process ended in the middle of a task. `reason` names the signal or exit status, `output` its last words."""

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason + (f"\n{output}" if output else ""))
        self.reason = reason
        self.output = output


class WorkerTimeout(Exception):
    """A task outlasted its time, and its process was killed. `seconds` is the limit it had."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.seconds = seconds


class TaskFailed(Exception):
    """A task raised something that is no kernel's fault; `trace` is the traceback as the process printed it."""

    def __init__(self, summary: str, trace: str) -> None:
        super().__init__(f"{summary}\n{trace}")
        self.summary = summary
        self.trace = trace


class Worker:
    """Runs tasks one at a time in its own process, started at the first call and again after a crash or time-out.

    `modules` are imported before the runner is made, where they can be. Safe to share between threads; several workers
    run side by side. The process ends with `close`, or with the parent however that ends, and never outlives either.
    """

    def __init__(self, runner: str, modules: Sequence[str] = ()) -> None:
        self.runner = runner
        self._modules = tuple(modules)
        self._turn = threading.RLock()
        self._process: _Process | None = None
        self._closed = False

    def call(self, task: Callable[[Runner, P], R], payload: P, *, timeout: float) -> R:
        """Run `task(runner, payload)` in the process and return its result.

        The task is a module-level function; payload and result are pickled. `timeout` is in seconds and does not count
        the process's start. Raises what the task raised if it is a KernelFault or SpecForgeError, TaskFailed for
        anything else, WorkerTimeout or WorkerCrashed where no answer came.
        """
        return cast(R, self._run(task, payload, timeout, None))

    def follow(
        self,
        task: Callable[[Runner, P, Callable[[N], None]], R],
        payload: P,
        noted: Callable[[N], None],
        *,
        timeout: float,
    ) -> R:
        """The same for a task that says how far it is: `task(runner, payload, note)`.

        What it gives to `note` is pickled and comes to `noted`, here in the calling thread, in order and before the
        result. `timeout` is for all of the task, however much it notes.
        """
        return cast(R, self._run(task, payload, timeout, noted))

    def _run(
        self, task: Callable[..., object], payload: object, timeout: float, noted: Callable[[Any], None] | None
    ) -> object:
        packed = pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL)
        request = pickle.dumps((refer(task), packed, noted is not None), protocol=pickle.HIGHEST_PROTOCOL)
        with self._turn:
            try:
                answer = self._ready().ask(request, timeout, noted)
            except BaseException:  # Ctrl-C included: a task cannot be interrupted, only ended
                self._stop()
                raise
            if answer[0] == "result":
                return cast(object, answer[1])
            failure = _failure(answer)
            if isinstance(failure, KernelFault) and failure.poisoned:
                self._stop()
            raise failure

    def start(self) -> None:
        """Start the process, and do not wait: it imports its modules, and touches no card before the first call."""
        with self._turn:
            if self._process is None and not self._closed:
                self._process = _Process(self._modules)

    def restart(self) -> None:
        """End the process, so that the next call finds a fresh one."""
        with self._turn:
            self._stop()

    def close(self) -> None:
        """End the process for good; a call under way in another thread raises WorkerCrashed."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._turn:
            self._stop()

    def __enter__(self) -> Worker:
        """Close at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, whatever happened in the block."""
        self.close()

    @property
    def pid(self) -> int | None:
        """The live process's id, if there is one."""
        process = self._process
        return process.pid if process else None

    @property
    def is_ready(self) -> bool:
        """Whether there is a process that has its runner."""
        process = self._process
        return process is not None and process.ready

    def _ready(self) -> _Process:
        if self._closed:
            raise WorkerCrashed("the worker is closed")
        if self._process is not None and not self._process.alive():
            self._stop()
        if self._process is None:
            self._process = _Process(self._modules)
            if self._closed:  # closed by another thread while the process was being made: close() did not see it
                raise WorkerCrashed("the worker is closed")
        if not self._process.ready:
            answer = self._process.ask(pickle.dumps(self.runner), START_TIMEOUT)
            if answer[0] != "ready":
                raise _failure(answer)
            self._process.ready = True
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


def _failure(answer: tuple[str, Any]) -> Exception:
    kind, value = answer
    if kind == "fault":
        return cast(KernelFault, value)
    return SpecForgeError(*value) if kind == "diagnostics" else TaskFailed(*value)


class _Process:
    """One child with its connection.

    A plain subprocess rather than multiprocessing's: nothing of the parent's main module is imported again, and no
    resource-tracker process stays behind.
    """

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.ready = False
        ours, theirs = socket.socketpair()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the process
        with theirs:
            try:
                self._child = subprocess.Popen(
                    [sys.executable, "-c", _CHILD, str(theirs.fileno()), _PACKAGE_ROOT],
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,  # device printf and crash reports: shown only where a task fails
                    stderr=subprocess.STDOUT,
                    pass_fds=[theirs.fileno()],
                    env={**THREADS, **MEMORY, **os.environ},
                    start_new_session=True,  # Ctrl-C reaches the parent, which ends this process in its own order
                )
            except BaseException:
                ours.close()
                self._output.close()
                raise
        self._connection: Connection = Connection(ours.detach())
        self.pid = self._child.pid
        with contextlib.suppress(ConnectionError):  # whoever asks it next is told how it ended
            self._connection.send_bytes(pickle.dumps((sys.path, modules)))

    def ask(self, request: bytes, timeout: float, noted: Callable[[Any], None] | None = None) -> tuple[str, Any]:
        deadline = time.monotonic() + timeout
        answer = self._receive(deadline, request)
        while answer is not None and answer[0] == "note" and noted is not None:
            noted(answer[1])
            # One that notes without end always has something to read: waiting alone would never find it late.
            answer = self._receive(deadline) if time.monotonic() < deadline else None
        if answer is None:
            raise WorkerTimeout(timeout)
        return answer

    def _receive(self, deadline: float, request: bytes | None = None) -> tuple[str, Any] | None:
        """What the process says next, asked first or of itself; None where that comes too late."""
        try:
            if request is not None:
                self._connection.send_bytes(request)
            return cast(tuple[str, Any], self._connection.recv()) if self._wait(deadline) else None
        except (EOFError, ConnectionError):
            raise WorkerCrashed(self._reason(), self._last_words()) from None

    def _wait(self, deadline: float) -> bool:
        # poll() takes at most what fits a C int of milliseconds; an endless time-out is a loop of long ones.
        while True:
            left = deadline - time.monotonic()
            if self._connection.poll(max(0.0, min(left, 86_400.0))):
                return True
            if left <= 0:
                return False

    def alive(self) -> bool:
        # Between tasks nothing is due: what can be read is the connection's end, which comes before the process's own.
        return self._child.poll() is None and not self._connection.poll(0)

    def kill(self) -> None:
        self._child.kill()

    def end(self) -> None:
        self._child.kill()
        self._child.wait()
        self._connection.close()
        self._output.close()

    def _reason(self) -> str:
        try:
            status = self._child.wait(10)
        except subprocess.TimeoutExpired:
            return "closed its connection without ending"
        if status >= 0:
            return f"ended with exit status {status}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"killed by {name}"

    def _last_words(self, limit: int = 4000) -> str:
        size = self._output.seek(0, 2)
        self._output.seek(max(0, size - limit))
        return self._output.read().decode(errors="replace").strip()
