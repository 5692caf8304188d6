"""What the benchmark runs inside a worker: a task of fuzzing, with where its time went and the memory it needed."""

from __future__ import annotations

import cProfile
import pstats
import resource
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from specforge.backend.runner import Runner
from specforge.verify.example import draw_inputs

STEPS = {"draw_inputs": "values", "call_reference": "reference", "launch_all": "emulation", "launch": "emulation",
         "judge": "comparison"}  # fmt: skip
"""Functions whose time is told apart, and what the table calls it."""


class Measured(NamedTuple):
    """A task's result; seconds of CPU and of wall time in the worker, seconds by step, and peak memory in bytes."""

    result: Any
    cpu: float
    wall: float
    by_step: dict[str, float]
    peak: int


def measure(runner: Runner, payload: tuple[Callable[[Runner, Any], Any], Any]) -> Measured:
    """Run a task under the profiler; few Python functions are called, so it costs next to nothing."""
    task, inner = payload
    profile = cProfile.Profile()
    cpu, wall = time.process_time(), time.perf_counter()
    result = profile.runcall(task, runner, inner)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    by_step: dict[str, float] = {}
    for (_, _, name), (*_, cumulative, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        nested = any(STEPS.get(caller[2]) == STEPS.get(name) for caller in callers)
        if name in STEPS and not nested:
            by_step[STEPS[name]] = by_step.get(STEPS[name], 0.0) + cumulative
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measured(result, cpu, wall, by_step, peak)


def emulate(runner: Runner, payload: tuple[Any, ...]) -> tuple[float, float]:
    """Run a planned case `repeats` times on one set of inputs: seconds of CPU and of wall time for all of them."""
    case, binary, example, repeats = payload
    inputs = draw_inputs(case, example)
    runner.run(case, binary, inputs)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        runner.run(case, binary, inputs)
    return time.process_time() - cpu, time.perf_counter() - wall
