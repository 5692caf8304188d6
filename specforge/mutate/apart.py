"""Examples run in a child that a worker forks: what a mutant overwrites, loads or keeps ends with the child.

So no mutant meets what another left behind, a crash costs a fork and not a new process with all its imports, and inputs
and references, which do not change, stay in the worker.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from specforge.backend.runner import KernelFault, Runner
from specforge.backend.worker import Worker
from specforge.verify.crash import describe_crash
from specforge.verify.example import ExampleResult, Task, drawn_anew, run_example, work_out
from specforge.verify.session import time_limit

if TYPE_CHECKING:
    import numpy as np

    from specforge.spec.geometry import Plan
    from specforge.verify.example import Example

    Worked = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]

PATIENCE = 1.5, 20.0
"""An example hangs beyond so many seconds of processor time and so many times what the unchanged kernel took."""
ROOM = 512 << 20
"""Bytes of inputs and references that a worker keeps."""
_PR_SET_PDEATHSIG = 1


class Memory:
    """Inputs and references of examples, by reference and row, while there is room; one worker's."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Worked] = {}
        self._left = ROOM

    def keep(self, case: Plan, example: Example) -> None:
        """Draw and compute what is not at hand."""
        key = case.reference, example.inputs_row()
        if key not in self._kept and self._left > 0:
            self._kept[key] = work_out(case, example)
            self._left -= sum(array.nbytes for part in self._kept[key] for array in part.values())

    def recall(self, case: Plan, example: Example) -> Worked:
        """What was kept, or worked out now."""
        return self._kept.get((case.reference, example.inputs_row())) or work_out(case, example)


@lru_cache(maxsize=1)
def _memory() -> Memory:
    return Memory()


class Answer(NamedTuple):
    """What became of an example, and the processor time that it took."""

    result: ExampleResult
    seconds: float


def run(worker: Worker, tasks: Sequence[Task], known: Mapping[str, float]) -> list[Answer]:
    """Run tasks in a fresh child of the worker's process, in order, up to the first that does not pass.

    `known` is what examples took the unchanged kernel, by row: an example that takes far longer hangs. Raises
    TaskFailed where the process could not go on for another reason than a fault, SpecForgeError as the reference does.
    """
    least, times = PATIENCE
    slowest = max(known.values(), default=0.0)
    limits = [least + times * known.get(task.example.to_row(), slowest) if slowest else 0.0 for task in tasks]
    timeout = sum(time_limit(task.case) for task in tasks)
    return worker.call(run_apart, (list(tasks), limits), timeout=timeout)


def run_apart(runner: Runner, payload: tuple[Sequence[Task], Sequence[float]]) -> list[Answer]:
    """See `run`; a task for a worker. A limit of 0 is none.

    Limits are of the child's own time, not of the clock: on a busy machine every mutant would hang.
    """
    tasks, limits = payload
    memory = _memory()
    for task in tasks:
        for example in (task.example, *drawn_anew(task.example, task.rounds)):
            memory.keep(task.case, example)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _serve(runner, tasks, limits, memory, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answers: list[Any] = list(_read(stream))
    _, status = os.waitpid(child, 0)
    if answers and isinstance(answers[-1], Exception):
        raise answers[-1]
    if len(answers) < len(tasks) and (not answers or answers[-1].result.passed):
        code = os.waitstatus_to_exitcode(status)
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        answers.append(Answer(ExampleResult("fault", describe_crash(reason, "")), 0.0))
    return answers


def _serve(runner: Runner, tasks: Sequence[Task], limits: Sequence[float], memory: Memory, writing: int) -> None:
    """The child's life: run, tell, end. Whatever happens it does not return."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a worker that is ended takes it along
        faulthandler.disable()  # nobody reads where a mutant crashes
        for task, limit in zip(tasks, limits, strict=True):
            signal.setitimer(signal.ITIMER_PROF, limit)
            started = time.process_time()
            try:
                result = run_example(runner, task, memory.recall)
            except KernelFault as fault:
                result = ExampleResult("fault", str(fault))
            taken = time.process_time() - started
            signal.setitimer(signal.ITIMER_PROF, 0)
            os.write(writing, pickle.dumps(Answer(result, taken)))
            if not result.passed:
                break
    except BaseException as error:
        os.write(writing, pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}")))
    finally:
        os._exit(0)


def _read(stream: Any) -> Iterator[Any]:  # noqa: ANN401 - a binary stream; what mutants write over is no whole pickle
    while True:
        try:
            yield pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            return
