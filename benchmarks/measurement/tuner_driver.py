"""What Kernel Tuner runs: a sweep over the tunables of one kernel. A program of its own.

python -m benchmarks.measurement.tuner_driver TASK.json REPORT.json, where the task has the plain CUDA text, its entry,
the arguments, the tunables' values and the iterations of each configuration.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the sweep and write every configuration's times, in milliseconds as Kernel Tuner gives them."""
    began = time.perf_counter()
    task: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    import kernel_tuner  # type: ignore[import-not-found]  # a tool that this project does not depend on
    import numpy as np

    rng = np.random.default_rng(0)
    arguments: list[Any] = []
    for argument in task["arguments"]:
        if isinstance(argument, int):
            arguments.append(np.int32(argument))
        else:
            arguments.append(rng.integers(-1000, 1000, argument["words"], np.int32))
    started = time.perf_counter()
    results, environment = kernel_tuner.tune_kernel(
        task["entry"],
        task["source"],
        task["problem_size"],
        arguments,
        task["tunables"],
        block_size_names=[task["block"]],
        grid_div_x=[task["grid_divisor"]],
        lang=task["language"],
        iterations=task["iterations"],
        quiet=True,
    )
    ended = time.perf_counter()
    kept = ("times", "compile_time", "verification_time", "benchmark_time", "strategy_time", "framework_time")
    report = {
        "startup_seconds": started - began,
        "total_seconds": ended - began,
        "sweep_seconds": ended - started,
        "device": environment.get("device_name"),
        "configurations": [
            {"tunables": {name: found[name] for name in task["tunables"]}}
            | {key: found[key] for key in kept if key in found}
            | ({"error": str(found["__error__"])} if "__error__" in found else {})
            for found in results
        ],
    }
    Path(sys.argv[2]).write_text(json.dumps(report, default=float))


if __name__ == "__main__":
    main()
