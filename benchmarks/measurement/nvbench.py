"""nvbench (the `cuda-bench` wheel) as a tool: run in a process of its own, its samples read back."""

from __future__ import annotations

import array
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measurement.nvbench_driver import GRAPH, LEAST_NODES
from benchmarks.measurement.subject import HERE, Ready

SAMPLES = "nv/json/bin:nv/cold/sample_times"
BATCH = "nv/batch/time/gpu/mean"
WALL = "nv/cold/walltime"
QUIET = ("--throttle-threshold", "0", "--timeout", "1", "--min-time", "0.05", "--batch-target-time", "0.1")
"""No throttle check (it empties tables on power-capped cards), and a bound on what tiny kernels may take."""

COLD = (
    "--throttle-threshold",
    "0",
    "--timeout",
    "1",
    "--min-time",
    "0.02",
    "--max-noise",
    "0.5",
    "--min-samples",
    "99",
)
"""For cold samples alone: its default noise criterion, at least as many samples as SpecForge takes."""

USUAL = ("--throttle-threshold", "0", "--timeout", "1.5")
"""As it comes, but for the throttle check and a shorter time-out (its own is 15 s)."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One subject as nvbench saw it; seconds."""

    cold: tuple[float, ...]
    """One launch each after a flush of L2, in order."""
    cold_wall: float | None
    """Wall time of taking them."""
    batch: float | None
    """Mean of launches enqueued one after the other."""
    graph: float | None
    """The same per launch of a graph over all copies."""
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One process of nvbench. `launch_seconds` is what enqueueing one launch costs its host."""

    timed: dict[str, Timed]
    version: str
    launch_seconds: float
    startup_seconds: float
    total_seconds: float


def run(
    subjects: Sequence[Ready],
    l2_bytes: int,
    folder: Path,
    options: Sequence[str] = QUIET,
    *,
    graphs: bool = True,
    batched: bool = True,
    timeout: float = 240,
) -> Run:
    """Time the subjects in one fresh process; raises CalledProcessError with what it printed where it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = {ready.subject.name: ready.copies(l2_bytes) for ready in subjects}
    jobs, report, found = folder / "jobs.json", folder / "report.json", folder / "nvbench.json"
    task = {"jobs": [ready.to_job() for ready in subjects], "copies": copies, "graphs": graphs, "batched": batched}
    jobs.write_text(json.dumps(task))
    command = [sys.executable, "-m", "benchmarks.measurement.nvbench_driver", str(jobs), str(report)]
    done = subprocess.run(
        [*command, "--jsonbin", str(found), *options],
        cwd=HERE.parents[1], capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    if done.returncode != 0 or not report.exists():
        raise RuntimeError(f"nvbench ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    said = json.loads(report.read_text())
    return Run(
        parse(json.loads(found.read_text()), folder, copies),
        said["version"],
        said["launch_seconds"],
        said["startup_seconds"],
        said["total_seconds"],
    )


def parse(document: dict[str, Any], folder: Path, copies: dict[str, int]) -> dict[str, Timed]:
    """Read nvbench's JSON and the binary samples beside it; raises ValueError where a file holds another count."""
    states = {benchmark["name"]: benchmark["states"][0] for benchmark in document["benchmarks"] if benchmark["states"]}
    found = {}
    for name, state in states.items():
        if name.endswith(GRAPH):
            continue
        graph = _value(states[name + GRAPH], BATCH) if name + GRAPH in states else None
        found[name] = Timed(
            _samples(state, folder),
            _value(state, WALL),
            _value(state, BATCH),
            None if graph is None else graph / max(copies[name], LEAST_NODES),
            state.get("skip_reason") if state.get("is_skipped") else None,
        )
    return found


def _summary(state: dict[str, Any], tag: str) -> dict[str, Any] | None:
    for summary in state.get("summaries") or ():
        if summary["tag"] == tag:
            return {entry["name"]: entry["value"] for entry in summary["data"]}
    return None


def _value(state: dict[str, Any], tag: str) -> float | None:
    summary = _summary(state, tag)
    return None if summary is None or summary["value"] is None else float(summary["value"])


def _samples(state: dict[str, Any], folder: Path) -> tuple[float, ...]:
    summary = _summary(state, SAMPLES)
    if summary is None:
        return ()
    named = Path(summary["filename"])
    places = (named, folder / named, folder / named.parent.name / named.name)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise ValueError(f"nvbench's samples are not where it says: {named}")
    values = array.array("f", path.read_bytes())
    if sys.byteorder != "little":
        values.byteswap()
    if len(values) != int(summary["size"]):
        raise ValueError(f"{path} holds {len(values)} samples; nvbench says {summary['size']}")
    return tuple(values)
