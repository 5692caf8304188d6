"""What a cell costs: SpecForge, nvbench and Kernel Tuner on one sweep of one kernel, to the same half-width.

    python -m benchmarks.measurement.cost [--results DIR] [--quick]

Writes cost.json. The sweep: 16 configurations of a kernel that reads 64 MiB. Every tool keeps its samples; one
estimator (specforge.measure.samples.estimate_median) says how many of them in a row give the median to 1 % (half the
interval of 95 %), on average over where the row begins, and the time it took to take samples is scaled to that number:
SpecForge's median to 1 % may cost no more than the cheapest of the others'. Process start-up and compiling stand apart.
SpecForge's other time is drawing values, uploading and checking each configuration twice against its reference; the
other two check nothing. nvbench gets SpecForge's cubins, compiled side by side ahead of both; Kernel Tuner compiles in
its sweep.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.measurement import nvbench, tuner
from benchmarks.measurement.busy import BusyMeter
from benchmarks.measurement.command import Session, open_session
from benchmarks.measurement.engine import Sweep, sweep
from benchmarks.measurement.result import median_of
from benchmarks.measurement.subject import Ready, read
from specforge.measure.samples import estimate_median

PRECISION = 0.01
TILES = 4096
TUNABLES = {"threads": [64, 128, 256, 512], "tile_count": [1, 2, 4, 8]}
QUICK = {"threads": [128, 256], "tile_count": [1]}
FEW = 30
"""Samples that Kernel Tuner and one way of running nvbench are asked for; by themselves they take 7, and 0.5 s."""
LEAST_SAMPLES = 6
"""From so many on there is an interval of 95 %."""
STARTS = 16
"""Places that samples are counted from: from one alone, cells of one kernel needed 6 to 79 by chance."""


def samples_needed(samples: Sequence[float], precision: float = PRECISION) -> float:
    """How many samples in a row give the median that well, on average over the first; behind the last come those ahead.

    Extrapolated by the square where all do not.
    """
    size = len(samples)
    if size < LEAST_SAMPLES:
        return float("inf")
    starts = range(0, size, -(-size // STARTS))
    return statistics.fmean(_needed([*samples[start:], *samples[:start]], precision) for start in starts)


def _needed(samples: Sequence[float], precision: float) -> float:
    for count in range(LEAST_SAMPLES, len(samples) + 1):
        if estimate_median(samples[:count]).precision <= precision:
            return count
    return len(samples) * (estimate_median(samples).precision / precision) ** 2


def scaled(samples: Sequence[float], seconds: float) -> dict[str, Any]:
    """What taking the samples cost, and what taking as many as are needed would have."""
    needed = samples_needed(samples)
    return median_of(samples) | {"seconds": seconds, "needed": needed, "to_precision": seconds * needed / len(samples)}


def total(cells: Sequence[dict[str, Any]], wall: float, startup: float) -> dict[str, float]:
    """A tool's cells together; seconds. `whole`: all but the start-up, had it stopped at the precision in each cell."""
    sampling, needed = (sum(cell[key] for cell in cells) for key in ("seconds", "to_precision"))
    return {
        "wall": wall,
        "startup": startup,
        "whole": wall - startup - sampling + needed,
        "cells": len(cells),
        "sampling": sampling,
        "to_precision": needed,
        "median_cell_to_precision": statistics.median(cell["to_precision"] for cell in cells),
        "worst_precision": max(cell["precision"] for cell in cells),
    }


def ours(built: Sequence[Ready], precision: float) -> dict[str, Any]:
    """SpecForge, one process for the sweep, isolated; it stops once half the interval is a third of this."""
    with BusyMeter() as meter:
        began = time.perf_counter()
        found: Sweep = sweep(built, precision=precision, modes=("isolated",))
        wall = time.perf_counter() - began
    cells = [scaled(one.samples("isolated"), one.sampling) for one in found.rounds]
    return {
        **total(cells, wall, found.startup),
        "checking": sum(one.task - one.sampling for one in found.rounds),
        "busy_by_samples": sum(one.busy for one in found.rounds) / wall,
        "busy_by_nvml": meter.share,
        "each": cells,
    }


def theirs_nvbench(session: Session, built: Sequence[Ready], options: Sequence[str], name: str) -> dict[str, Any]:
    """nvbench, one process, cold samples only."""
    with BusyMeter() as meter:
        began = time.perf_counter()
        found = nvbench.run(built, session.l2_bytes, session.state / name, options, graphs=False, batched=False)
        wall = time.perf_counter() - began
    cells = [scaled(one.cold, one.cold_wall or 0.0) for one in found.timed.values() if len(one.cold) >= LEAST_SAMPLES]
    busy = sum(sum(one.cold) for one in found.timed.values())
    return {
        **total(cells, wall, wall - found.total_seconds + found.startup_seconds),
        "options": list(options),
        "busy_by_samples": busy / wall,
        "busy_by_nvml": meter.share,
        "each": cells,
    }


def theirs_tuner(session: Session, ready: Ready, tunables: dict[str, list[int]]) -> dict[str, Any]:
    """Kernel Tuner, one process; its first configuration is run once more as a warm-up."""
    with BusyMeter() as meter:
        began = time.perf_counter()
        found = tuner.run(ready, tunables, FEW, session.state / "tuner")
        wall = time.perf_counter() - began
    good = [one for one in found.configurations if len(one.samples) >= LEAST_SAMPLES]
    cells = [scaled(one.samples, one.benchmarking) for one in good]
    return {
        **total(cells, wall, wall - found.sweep_seconds),
        "language": found.language,
        "compiling": sum(one.compiling for one in found.configurations),
        "errors": [one.error for one in found.configurations if one.error],
        "busy_by_samples": sum(sum(one.samples) for one in good) / wall,
        "busy_by_nvml": meter.share,
        "each": cells,
    }


def run(session: Session, tunables: dict[str, list[int]]) -> dict[str, Any]:
    """Every tool, as the result file holds it."""
    subjects = [
        read(TILES, name=",".join(f"{key}={value}" for key, value in chosen.items()), **chosen)
        for values in itertools.product(*tunables.values())
        for chosen in [dict(zip(tunables, values, strict=True))]
    ]
    began = time.perf_counter()
    built = session.build(subjects)
    compiling = time.perf_counter() - began
    few = f"--throttle-threshold 0 --stopping-criterion sample-count --target-samples {FEW} --min-samples {FEW}".split()
    tools: dict[str, Any] = {}
    failures: dict[str, str] = {}
    takers: dict[str, Callable[[], dict[str, Any]]] = {
        "SpecForge, half-width 1 %": lambda: ours(built, 3 * PRECISION),
        "SpecForge, precision 1 % as targets ask": lambda: ours(built, PRECISION),
        f"nvbench, {FEW} samples": lambda: theirs_nvbench(session, built, few, "nvbench-few"),
        "nvbench, its own criterion": lambda: theirs_nvbench(session, built, nvbench.USUAL, "nvbench-usual"),
        f"Kernel Tuner, {FEW} samples": lambda: theirs_tuner(session, built[0], tunables),
    }
    for name, take in takers.items():
        try:
            tools[name] = {"compiling": compiling} | take()
        except Exception as error:  # one tool less; the others are worth having
            failures[name] = repr(error)
    return {"precision": PRECISION, "bytes": TILES * 16384, "tunables": tunables, "tools": tools, "failures": failures}


def cheapest(tools: Mapping[str, Mapping[str, Any]]) -> str:
    """The tool whose cell costs least to the precision asked for; empty where there is none."""
    return min(tools, key=lambda name: tools[name]["median_cell_to_precision"], default="")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 1 where a tool failed, or where another one is cheaper than SpecForge."""
    session, options = open_session(__doc__, arguments, quick=True)
    result = run(session, QUICK if options.quick else TUNABLES)
    session.write("cost", result)
    for name, found in result["tools"].items():
        busy = found["busy_by_nvml"]
        print(
            f"{name:40} wall {found['wall']:6.2f} s, start {found['startup']:5.2f}, sampling {found['sampling']:6.2f}, "
            f"to 1 % {found['to_precision']:6.3f} "
            f"({found['median_cell_to_precision'] * 1e3:.1f} ms a cell, whole sweep {found['whole']:.2f} s), "
            f"worst {found['worst_precision']:.2%}, busy {found['busy_by_samples']:.1%}"
            + ("" if busy is None else f", by NVML {busy:.0%}")
        )
    bad = list(result["failures"].items())
    first = cheapest(result["tools"])
    if not first.startswith("SpecForge"):
        bad.append(("SpecForge", f"{first or 'nothing'} is the cheapest to 1 % of a cell"))
    for name, failure in bad:
        print(f"FAILED {name}: {failure}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
