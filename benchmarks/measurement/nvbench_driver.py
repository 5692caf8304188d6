"""What nvbench runs: each job as launches over rotating copies, and as graphs of them. A program of its own.

    python -m benchmarks.measurement.nvbench_driver JOBS.json REPORT.json [nvbench's own options]

JOBS.json: {"jobs": [...], "copies": {name: count}, "graphs": bool, "batched": bool}. REPORT.json: host seconds by job,
and what one launch costs the host. nvbench's own figures come from its `--jsonbin`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ENQUEUED = 500
"""Launches by which the host's cost of one is told; the driver's queue holds about a thousand."""
LEAST_NODES = 16
"""Launches in a graph at least, whatever the number of copies."""
GRAPH = " | graph"
"""Ends the name of a benchmark whose one launch is a graph of launches over all copies."""


def main() -> None:
    """Register every job with nvbench and run them as its options say."""
    begin = time.perf_counter()
    task: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    import cuda.bench as nvbench

    from benchmarks.measurement.card_driver import bind, start

    l2_bytes = start()
    report: dict[str, Any] = {"l2_bytes": l2_bytes, "version": nvbench.__version__, "seconds": {}}

    def register(name: str, make: Callable[[], Callable[[int], None]]) -> None:
        def run(state: Any) -> None:  # noqa: ANN401 -- nvbench's State
            launch = make()
            began = time.perf_counter()
            state.exec(lambda it: launch(it.get_stream().addressof()), batched=task["batched"])
            report["seconds"][name] = time.perf_counter() - began

        run.__name__ = name
        nvbench.register(run).set_name(name)

    for job in task["jobs"]:
        copies = task["copies"][job["name"]]
        register(job["name"], partial(bind, job, copies))
        if task["graphs"]:
            register(job["name"] + GRAPH, partial(_graph, job, copies))
    report["launch_seconds"] = _host_cost(bind(task["jobs"][0], 1))
    report["startup_seconds"] = time.perf_counter() - begin
    nvbench.run_all_benchmarks([sys.argv[0], *sys.argv[3:]])
    report["total_seconds"] = time.perf_counter() - begin
    Path(sys.argv[2]).write_text(json.dumps(report))


def _graph(job: dict[str, Any], copies: int) -> Callable[[int], None]:
    from benchmarks.measurement.card_driver import bind, capture

    return capture(bind(job, copies), max(copies, LEAST_NODES))


def _host_cost(launch: Callable[[int], None]) -> float:
    from cuda.bindings import driver

    from benchmarks.measurement.card_driver import checked

    stream = int(checked(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)))
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(ENQUEUED):
            launch(stream)
        spent = time.perf_counter() - began
        checked(driver.cuStreamSynchronize(stream))
    return spent / ENQUEUED


if __name__ == "__main__":
    main()
