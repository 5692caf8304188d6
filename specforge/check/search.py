"""The search of one kernel, with all that it needs, here or in a process of its own.

Drawing and planning take Hypothesis some milliseconds an example. Searches in threads share one interpreter, so with
eleven of them each takes as long as all; where there are processors to spare each has its own. Eleven kernels beside an
H100, 16 processors: 48 s in threads, 27 s so. Searching later specs' kernels in the same stage was not worth its code:
with five more it took 39 s, in stages of their own 27, 13 and 4.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from specforge.backend.runner import Runner
from specforge.backend.worker import START_TIMEOUT, TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.expressions import Scalar
from specforge.spec.interface import Kernel
from specforge.verify.example import Example
from specforge.verify.fuzz import FuzzReport, fuzz, isolate_hypothesis
from specforge.verify.session import Caller, Variant

MARGIN = 3 * START_TIMEOUT
"""Seconds by which a search's process may outlast its budget: the last example's process may have to be started again,
and once more to explain a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What `fuzz` is asked, which says what each field means; all of it can be pickled."""

    kernel: Kernel
    variants: tuple[Variant, ...]
    replayed: tuple[Variant, ...]
    examples: int
    seed: int
    deadline: float
    """A time of `time.monotonic`, which all processes of a machine share."""
    cap: float
    known: tuple[Example, ...]
    committed: tuple[Example, ...]
    shrink_seconds: float
    device: Mapping[str, Scalar]
    backend: str
    singled: tuple[Mapping[str, Scalar], ...]
    enough: int

    def run(self, worker: Caller, progress: Callable[[int], None]) -> FuzzReport:
        """Search in this process; examples run in the worker."""
        return fuzz(
            self.kernel,
            self.variants,
            worker,
            examples=self.examples,
            seed=self.seed,
            budget=self.deadline - time.monotonic(),
            cap=self.cap,
            known_failures=self.known,
            committed=self.committed,
            replayed=self.replayed,
            shrink_seconds=self.shrink_seconds,
            progress=progress,
            device=self.device,
            backend=self.backend,
            singled=self.singled,
            enough=self.enough,
        )

    def run_apart(self, worker: Worker, runner: str, folder: Path, progress: Callable[[int], None]) -> FuzzReport:
        """Search in the worker, examples in another worker that it starts; `folder` is for Hypothesis's own files.

        Raises what `run` does, and TaskFailed where the process ended or hung: nothing is known then.
        """
        left = max(0.0, self.deadline - time.monotonic())
        try:
            return worker.follow(_search, (self, runner, folder), progress, timeout=left + MARGIN)
        except (WorkerCrashed, WorkerTimeout) as error:
            said = error.reason if isinstance(error, WorkerCrashed) else str(error)
            raise TaskFailed(f"the process of its search: {said}", str(error)) from None


def _search(_: Runner, asked: tuple[Search, str, Path], note: Callable[[int], None]) -> FuzzReport:
    search, runner, folder = asked
    isolate_hypothesis(folder)
    with Worker(runner) as worker:
        worker.start()  # it imports while Hypothesis does
        return search.run(worker, note)
