"""Kernel Tuner as a tool: a sweep in a process of its own, its samples read back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measurement.subject import HERE, Ready

MARK = "// Below this line"
LANGUAGES = ("NVCUDA", "CUPY")
"""Its ways to the card, tried in this order."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One point of the sweep. Seconds."""

    tunables: dict[str, Any]
    samples: tuple[float, ...]
    compiling: float
    benchmarking: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """One process of Kernel Tuner."""

    configurations: tuple[Configuration, ...]
    language: str
    startup_seconds: float
    sweep_seconds: float


def run(
    ready: Ready, tunables: Mapping[str, Sequence[int]], iterations: int, folder: Path, timeout: float = 120
) -> Sweep:
    """Sweep the read kernel's source; raises RuntimeError with what it printed where no language works."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs, report = folder / "tuner-jobs.json", folder / "tuner.json"
    arguments = [
        {"words": ready.plan.buffer(argument).nbytes // 4} if isinstance(argument, str) else argument
        for argument in ready.launch.args
    ]
    task = {
        "entry": ready.launch.entry,
        "source": plain(ready.source),
        "problem_size": ready.subject.parameters["tiles"],
        "arguments": arguments,
        "tunables": {name: list(values) for name, values in tunables.items()},
        "block": "threads",
        "grid_divisor": "tile_count",
        "iterations": iterations,
    }
    command = [sys.executable, "-m", "benchmarks.measurement.tuner_driver", str(jobs), str(report)]
    said = []
    for language in LANGUAGES:
        jobs.write_text(json.dumps(task | {"language": language}))
        done = subprocess.run(
            command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode == 0 and report.exists():
            return parse(json.loads(report.read_text()), language)
        said.append(f"{language} ended with {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    raise RuntimeError("Kernel Tuner: " + "\n".join(said))


def plain(source: str) -> str:
    """The text below the mark: plain CUDA without the template's definitions and `#line` directives."""
    _, mark, rest = source.partition(MARK)
    if not mark:
        raise ValueError(f"the source has no line {MARK!r}")
    lines = rest.split("\n")[1:]
    return "\n".join(line for line in lines if not line.startswith("#line"))


def parse(report: dict[str, Any], language: str) -> Sweep:
    """Read the driver's report; milliseconds become seconds."""
    found = tuple(
        Configuration(
            entry["tunables"],
            tuple(value * 1e-3 for value in entry.get("times", ())),
            entry.get("compile_time", 0.0) * 1e-3,
            entry.get("benchmark_time", 0.0) * 1e-3,
            entry.get("error"),
        )
        for entry in report["configurations"]
    )
    return Sweep(found, language, report["startup_seconds"], report["sweep_seconds"])
