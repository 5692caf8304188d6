"""SpecForge as a tool: a subject measured by its engine in a fresh process, as `check` does it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measurement.subject import Ready
from specforge.backend.cuda import CudaRunner
from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.measure import stopping
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.measurement import Measurement
from specforge.measure.stopping import StopRule
from specforge.spec.timing import Mode
from specforge.verify.example import Example

RUNNER = "cuda:0"
TIMEOUT = 120.0
SEED = 1
BOTH: tuple[Mode, ...] = ("isolated", "amortised")


@dataclass(frozen=True, slots=True)
class Round:
    """One process. Seconds of wall time beside what it measured."""

    measurement: Measurement
    startup: float
    """Until the process had its runner: Python, imports, CUDA."""
    task: float
    """Values, uploads, both checks and the timing."""
    sampling: float
    """The timing alone, all modes, warm-up included."""

    def samples(self, mode: Mode) -> tuple[float, ...]:
        """Seconds of launch groups that count, in order; none where the mode was not reached."""
        series = self.measurement.series.get(mode)
        return () if series is None else series.samples

    @property
    def busy(self) -> float:
        """Seconds of the kept samples together: the card ran the launches that are timed."""
        every = (series for series in self.measurement.series.values())
        return sum(sum(batch.samples) * series.groups for series in every for batch in series.batches)


def measure(
    ready: Ready, *, precision: float = 0.01, seconds: float = 3.0, modes: Sequence[Mode] = BOTH, seed: int = SEED
) -> Round:
    """Measure in a fresh process; raises RuntimeError where the result was wrong or nothing could be timed."""
    began = time.perf_counter()
    with Worker(RUNNER) as worker:
        worker.call(touch, None, timeout=TIMEOUT)
        startup = time.perf_counter() - began
        return _round(worker, ready, _task(ready, precision, seconds, modes, seed), startup)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Several subjects in one process, whose start took `startup` seconds."""

    rounds: tuple[Round, ...]
    startup: float


def sweep(
    subjects: Sequence[Ready], *, precision: float = 0.01, seconds: float = 3.0, modes: Sequence[Mode] = BOTH
) -> Sweep:
    """Measure subjects one after the other in one process, as a search among tunables does; raises as `measure`."""
    began = time.perf_counter()
    with Worker(RUNNER) as worker:
        worker.call(touch, None, timeout=TIMEOUT)
        startup = time.perf_counter() - began
        rounds = tuple(_round(worker, ready, _task(ready, precision, seconds, modes, SEED)) for ready in subjects)
    return Sweep(rounds, startup)


def _round(worker: Worker, ready: Ready, task: MeasureTask, startup: float = 0.0) -> Round:
    began = time.perf_counter()
    found, sampling = worker.call(timed, task, timeout=TIMEOUT)
    spent = time.perf_counter() - began
    if found.refusal is not None or not found.verified:
        raise RuntimeError(f"{ready.subject.name}: {found.refusal or found.after or found.before}")
    return Round(found, startup, spent, sampling)


def _task(ready: Ready, precision: float, seconds: float, modes: Sequence[Mode], seed: int) -> MeasureTask:
    return MeasureTask(
        plan=ready.plan,
        binary=str(ready.cubin),
        binary_sha256=ready.cubin_sha256,
        example=Example(ready.subject.parameters, ready.subject.tunables, seed=seed),
        memory_bandwidth=ready.bandwidth,
        rule=StopRule(precision=precision, seconds=seconds),
        modes=tuple(modes),
        answers=None if ready.answers is None else str(ready.answers),
    )


def touch(runner: Runner, _payload: None) -> str:
    """Nothing; the process is up once it answers."""
    return runner.name


def timed(runner: Runner, task: MeasureTask) -> tuple[Measurement, float]:
    """`measure_case` with the wall time spent inside its collecting of samples."""
    inner, spent = stopping.collect, 0.0

    def watched(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 -- as collect's
        nonlocal spent
        began = time.perf_counter()
        try:
            return inner(*arguments, **named)
        finally:
            spent += time.perf_counter() - began

    users = [module for module in list(sys.modules.values()) if getattr(module, "collect", None) is inner]
    for module in users:
        module.collect = watched  # type: ignore[attr-defined]  # in this process, for this task
    try:
        return measure_case(runner, task), spent
    finally:
        for module in users:
            module.collect = inner  # type: ignore[attr-defined]


def l2_bytes(runner: Runner, _payload: None) -> int:
    """The card's L2 in bytes; raises TypeError for a runner that is no card."""
    if not isinstance(runner, CudaRunner):
        raise TypeError(f"{runner.name} has no L2")
    return runner.l2_bytes
