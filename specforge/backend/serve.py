"""The worker's side of the pipe: build one runner, run tasks, answer, and end when the parent does."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import pickle
import select
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

from specforge.backend.runner import KernelFault, Runner, create_runner
from specforge.backend.task import TaskReference
from specforge.backend.worker import TaskFailed
from specforge.diagnostics import SpecForgeError

PARENT_GONE = 70
"""Exit status of a worker whose parent closed the connection, or ended."""


def main(descriptor: int) -> None:
    """Serve the connection at an inherited file descriptor until it closes."""
    faulthandler.enable()  # a crash leaves a traceback in the output that the parent keeps
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    connection = Connection(descriptor)
    try:
        runner = _start(connection)
        while runner is not None:
            _answer(connection, runner)
    except (EOFError, ConnectionError):
        os._exit(PARENT_GONE)


def _end_with_parent(descriptor: int) -> None:
    # A task that computes or hangs reads no pipe, and the kernel's parent-death signal fires when the *thread* that
    # started the process ends; a hung-up socket is neither late nor early.
    watch = select.poll()
    watch.register(descriptor, 0)
    watch.poll()
    os._exit(PARENT_GONE)


def _start(connection: Connection) -> Runner | None:
    sys.path[:], modules = pickle.loads(connection.recv_bytes())
    for module in modules:
        with contextlib.suppress(Exception):  # the task that needs it will meet the same, and say so
            importlib.import_module(module)
    name = pickle.loads(connection.recv_bytes())
    try:
        runner = create_runner(name)
    except SpecForgeError as error:
        connection.send(("diagnostics", error.diagnostics))
    except Exception as error:
        connection.send(("failed", (_summary(error), traceback.format_exc())))
    else:
        connection.send(("ready", runner.name))
        return runner
    return None


def _answer(connection: Connection, runner: Runner) -> None:
    request = connection.recv_bytes()
    answer: tuple[str, object]
    try:
        reference, packed, followed = pickle.loads(request)
        # What a task notes goes ahead of its answer, and only where somebody listens.
        more = (lambda value: connection.send(("note", value)),) if followed else ()
        answer = ("result", _run(reference, packed, runner, *more))
        reply = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
    except KernelFault as fault:
        reply = pickle.dumps(("fault", fault))
    except SpecForgeError as error:
        reply = pickle.dumps(("diagnostics", error.diagnostics))
    except TaskFailed as failed:  # in a worker of the task's own, which has said all there is to say
        reply = pickle.dumps(("failed", (failed.summary, failed.trace)))
    except BaseException as error:  # a task that calls sys.exit failed too; the process stays
        reply = pickle.dumps(("failed", (_summary(error), traceback.format_exc())))
    connection.send_bytes(reply)


def _run(reference: TaskReference, packed: bytes, runner: Runner, *more: Callable[[object], None]) -> object:
    task = reference.resolve()  # first: the payload's own types may live in the task's module
    return task(runner, pickle.loads(packed), *more)


def _summary(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
