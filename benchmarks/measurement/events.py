"""Times taken by hand in a process of their own: what explains a disagreement, and the host's clock as a truth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measurement.subject import HERE, Ready
from specforge.kernel.nvrtc import compile_source


def run(
    subjects: Sequence[Ready], l2_bytes: int, folder: Path, *, host: Collection[str] = (), timer: Path | None = None
) -> dict[str, Any]:
    """The driver's report (see events_driver); `host` names subjects to time by the host's clock too."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs, report = folder / "events-jobs.json", folder / "events.json"
    copies = {ready.subject.name: ready.copies(l2_bytes) for ready in subjects}
    task = {"jobs": [ready.to_job() for ready in subjects], "copies": copies, "host": sorted(host)}
    jobs.write_text(json.dumps(task | {"timer": str(timer) if timer else None}))
    command = [sys.executable, "-m", "benchmarks.measurement.events_driver", str(jobs), str(report)]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def build_timer(architecture: str, folder: Path) -> Path:
    """Compile the kernel that watches the global timer; raises RuntimeError with the compiler's log."""
    source = HERE / "ticks.cu"
    compiled = compile_source(source.read_text(), source, architecture, ())
    if compiled.cubin is None:
        raise RuntimeError(compiled.log)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ticks.cubin"
    path.write_bytes(compiled.cubin)
    return path.resolve()
