"""ncu as a tool: the duration of each launch from the card's own profiling counters."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measurement.subject import HERE, Ready

METRIC = "gpu__time_duration.sum"
WARMUP = 3
"""Launches of a subject that are thrown away: the first ones load code and fill the TLBs."""
UNITS = {"ns": 1e-9, "nsecond": 1e-9, "us": 1e-6, "usecond": 1e-6, "ms": 1e-3, "msecond": 1e-3, "s": 1.0, "second": 1.0}


def run(
    subjects: Sequence[Ready], l2_bytes: int, folder: Path, *, cache: str, launches: int = 13, timeout: float = 240
) -> dict[str, tuple[float, ...]]:
    """Seconds of launches by subject, clocks as found; `cache` is `none` (they rotate, as ours do) or `all` (flushed).

    Raises RuntimeError with what ncu printed where it fails, FileNotFoundError where it is not installed.
    """
    tool = shutil.which("ncu")
    if tool is None:
        raise FileNotFoundError("ncu is not on PATH")
    folder.mkdir(parents=True, exist_ok=True)
    jobs = folder / f"ncu-{cache}.json"
    copies = {ready.subject.name: ready.copies(l2_bytes) for ready in subjects}
    jobs.write_text(
        json.dumps({"jobs": [ready.to_job() for ready in subjects], "copies": copies, "launches": launches})
    )
    command = [tool, "--csv", "--print-units", "base", "--metrics", METRIC, "--clock-control", "none"]
    command += ["--cache-control", cache, sys.executable, "-m", "benchmarks.measurement.ncu_driver", str(jobs)]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ncu ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return share_out(parse(done.stdout), [ready.subject.name for ready in subjects], launches)


def parse(output: str) -> list[float]:
    """Seconds of every launch in ncu's CSV, in order; raises ValueError where there is no table or a unknown unit."""
    start = output.find('"ID"')
    if start < 0:
        raise ValueError(f"no table in ncu's output:\n{output[-2000:]}")
    found = []
    for row in csv.DictReader(io.StringIO(output[start:])):
        if row.get("Metric Name") != METRIC:
            continue
        if row["Metric Unit"] not in UNITS:
            raise ValueError(f"ncu's unit {row['Metric Unit']!r} is not known")
        found.append(float(row["Metric Value"].replace(",", "")) * UNITS[row["Metric Unit"]])
    return found


def share_out(seconds: Sequence[float], names: Sequence[str], launches: int) -> dict[str, tuple[float, ...]]:
    """Each subject's launches without the warm-up; raises ValueError where ncu saw another number of launches."""
    if len(seconds) != launches * len(names):
        raise ValueError(f"ncu saw {len(seconds)} launches; {launches} of each of {len(names)} subjects were made")
    return {
        name: tuple(seconds[number * launches + WARMUP : (number + 1) * launches]) for number, name in enumerate(names)
    }
