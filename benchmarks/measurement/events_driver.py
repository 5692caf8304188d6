"""Times taken by hand, to explain what tools disagree on. A program of its own.

    python -m benchmarks.measurement.events_driver JOBS.json REPORT.json

For each job of {"jobs", "copies", "host", "timer"}: `rotated`, seconds of launches between two events behind a held
stream; `flushed`, the same with L2's size of memory written right before each. Seconds per launch among many, cold by
rotation: `queued`, behind a held stream, so that the host is far ahead; `streamed`, enqueued while the card runs, as
many as a tool's batch has; `graphed`, as nodes of a graph. Where its name is in `host`, `host`, seconds a launch by the
host's clock around a third of a second of graphs. `timer`: a cubin whose kernel notes when the global timer changes.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cuda.bindings import driver

from benchmarks.measurement.card_driver import bind, capture, checked, start

LAUNCHES = 100
HOST_SECONDS = 0.3
REPEATS = 6
MOST_QUEUED = 400
"""Launches behind a held stream; the driver's queue holds about a thousand."""
BATCH_SECONDS = 0.05
LEAST_NODES = 16
TICKS = 64


def main() -> None:
    """Time the jobs and write the report."""
    task: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    watch = _Events(start())
    report: dict[str, Any] = {"l2_bytes": watch.l2_bytes, "jobs": {}}
    if task.get("timer"):
        report["timer_steps"] = _timer_steps(task["timer"])
    for job in task["jobs"]:
        copies = task["copies"][job["name"]]
        launch = bind(job, copies)
        found: dict[str, Any] = {"rotated": watch.time(launch), "flushed": watch.time(launch, flush=True)}
        found |= watch.many(launch, max(copies, LEAST_NODES), statistics.median(found["rotated"]))
        if job["name"] in task["host"]:
            count = max(copies, 16)
            found["host"] = _host_seconds(capture(launch, count), watch.stream) / count
        report["jobs"][job["name"]] = found
    Path(sys.argv[2]).write_text(json.dumps(report))


class _Events:
    """A stream, a gate that holds it, and pairs of events."""

    def __init__(self, l2_bytes: int) -> None:
        self.l2_bytes = l2_bytes
        self.stream = int(checked(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)))
        host = checked(driver.cuMemHostAlloc(4, 2))  # CU_MEMHOSTALLOC_DEVICEMAP
        self._gate = ctypes.c_uint32.from_address(int(host))
        self._gate.value = 0
        self._on_card = checked(driver.cuMemHostGetDevicePointer(host, 0))
        self._scratch = checked(driver.cuMemAlloc(l2_bytes))
        self._pairs = [(checked(driver.cuEventCreate(0)), checked(driver.cuEventCreate(0))) for _ in range(LAUNCHES)]

    def time(self, launch: Callable[[int], None], *, flush: bool = False) -> list[float]:
        """Seconds of each launch; nothing reaches the card's queue while one runs."""
        for _ in range(LAUNCHES):
            launch(self.stream)
        for begin, end in self._pairs:
            if flush:
                checked(driver.cuMemsetD8Async(self._scratch, 0, self.l2_bytes, self.stream))
            with self._held():
                checked(driver.cuEventRecord(begin, self.stream))
                launch(self.stream)
                checked(driver.cuEventRecord(end, self.stream))
            checked(driver.cuStreamSynchronize(self.stream))
        return [_between(begin, end) for begin, end in self._pairs]

    def many(self, launch: Callable[[int], None], nodes: int, each: float) -> dict[str, list[float]]:
        """Seconds per launch among many, REPEATS times in each of three ways; `each`: about what one launch takes."""
        batch = max(1, round(BATCH_SECONDS / each))
        queued = max(LEAST_NODES, min(MOST_QUEUED, batch))
        graph = capture(launch, nodes)  # not behind a held stream: the driver's queue may not have room for its nodes
        return {
            "queued": [self._among(launch, queued, held=True) for _ in range(REPEATS)],
            "streamed": [self._among(launch, max(queued, batch), held=False) for _ in range(REPEATS)],
            "graphed": [self._among(graph, max(2, batch // nodes), held=False) / nodes for _ in range(REPEATS)],
        }

    def _among(self, enqueue: Callable[[int], None], count: int, *, held: bool) -> float:
        """Seconds of one of `count` pieces of work, back to back after another one."""
        begin, end = self._pairs[0]
        with self._held() if held else nullcontext():
            enqueue(self.stream)
            checked(driver.cuEventRecord(begin, self.stream))
            for _ in range(count):
                enqueue(self.stream)
            checked(driver.cuEventRecord(end, self.stream))
        checked(driver.cuStreamSynchronize(self.stream))
        return _between(begin, end) / count

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the stream until the block ends, however it ends."""
        ticket = self._gate.value + 1
        at_least = driver.CUstreamWaitValue_flags.CU_STREAM_WAIT_VALUE_GEQ
        checked(driver.cuStreamWaitValue32(self.stream, self._on_card, ticket, at_least))
        try:
            yield
        finally:
            self._gate.value = ticket


def _between(begin: Any, end: Any) -> float:  # noqa: ANN401 -- the driver's events
    return float(checked(driver.cuEventElapsedTime(begin, end))) * 1e-3


def _host_seconds(replay: Callable[[int], None], stream: int) -> float:
    """Wall seconds of one replay: the host's clock around enough of them, the wait at the end included."""
    count, spent = 1, 0.0
    while True:
        checked(driver.cuStreamSynchronize(stream))
        began = time.perf_counter()
        for _ in range(count):
            replay(stream)
        checked(driver.cuStreamSynchronize(stream))
        spent = time.perf_counter() - began
        if spent >= HOST_SECONDS:
            return spent / count
        count = max(2 * count, int(count * 1.2 * HOST_SECONDS / max(spent, 1e-6)))


def _timer_steps(cubin: str) -> dict[str, float]:
    """Nanoseconds by which the global timer moves on, as one thread sees it."""
    module = checked(driver.cuModuleLoadData(Path(cubin).read_bytes()))
    kernel = checked(driver.cuModuleGetFunction(module, b"ticks"))
    address = ctypes.c_void_p(int(checked(driver.cuMemAlloc(8 * TICKS))))
    pointers = (ctypes.c_void_p * 1)(ctypes.addressof(address))
    seen = (ctypes.c_uint64 * TICKS)()
    for _ in range(2):
        checked(driver.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, 0, ctypes.addressof(pointers), 0))
        checked(driver.cuMemcpyDtoH(ctypes.addressof(seen), address.value, 8 * TICKS))
    steps = [int(after) - int(before) for before, after in itertools.pairwise(seen)]
    return {"least": min(steps), "median": statistics.median(steps), "most": max(steps)}


if __name__ == "__main__":
    main()
