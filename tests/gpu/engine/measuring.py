"""A measurement in the worker, and what it prints: series, notes, and where its wall time went."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.measurement import Measurement
from specforge.measure.series import Mode
from specforge.measure.stopping import StopRule
from specforge.spec.geometry import Plan
from specforge.verify.example import Example

PEAK = 4.8e12
"""Bytes per second: no card that these tests know has a faster memory."""
ALL: tuple[Mode, ...] = ("isolated", "amortised", "overlapped")


def measured(worker: Worker, plan: Plan, binary: str, modes: tuple[Mode, ...] = ALL, **more: Any) -> Measurement:
    digest = hashlib.sha256(Path(binary).read_bytes()).hexdigest()
    rule, by, bandwidth = StopRule(seconds=0.7), more.pop("by", measure_case), more.pop("bandwidth", PEAK)
    task = MeasureTask(plan, binary, digest, Example({}), bandwidth, modes=modes, rule=rule, **more)
    seen, spent = worker.call(timed, (by, task), timeout=120)
    show(plan, seen)
    print("  ms: " + ", ".join(f"{name} {1e3 * took:.1f} in {calls}" for name, (took, calls) in spent.items()))
    return seen  # type: ignore[no-any-return]


def timed(runner: Runner, work: tuple[Any, MeasureTask]) -> tuple[Measurement, dict[str, tuple[float, int]]]:
    """A measurement, and where its wall time went: seconds and calls by what was done, inner ones not in outer ones."""
    from specforge.backend import cuda, graph, stopwatch, telemetry
    from specforge.backend.device_case import DeviceCase
    from specforge.measure import case, course, stopping, timer

    places = [
        ("NVML open", telemetry.CardWatch, "__enter__"),
        ("NVML read", telemetry.CardWatch, "read"),
        ("NVML recount", telemetry.CardWatch, "recount"),
        ("NVML glance", telemetry.CardWatch, "glance"),
        ("prepare", cuda.CudaRunner, "prepare"),
        ("draw", case, "draw_inputs"),
        ("upload", DeviceCase, "upload"),
        ("fresh", DeviceCase, "replace"),
        ("reference", case, "answer"),
        ("outputs", DeviceCase, "outputs"),
        ("judge", course, "judge"),
        ("violations", DeviceCase, "violations"),
        ("poison", DeviceCase, "poison"),
        ("reset L2", cuda.CudaRunner, "reset_persisting_l2"),
        ("queue", stopwatch.Stopwatch, "time"),
        ("warm-up", stopping, "_warm_up"),
        ("statistics", stopping, "estimate_median"),
        ("shape", stopping, "describe"),
        ("graph", timer.Timer, "graph"),
        ("capture", graph, "captured"),
        ("isolated", course.Course, "isolated"),
        ("amortised", course.Course, "amortised"),
        ("overlapped", course.Course, "overlapped"),
    ]
    spent: dict[str, tuple[float, int]] = {}
    inside = [0.0]

    def watched(name: str, inner: Any) -> Any:
        def outer(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            inside.append(0.0)
            try:
                return inner(*arguments, **named)
            finally:
                whole = time.perf_counter() - began
                took, calls = spent.get(name, (0.0, 0))
                spent[name] = took + whole - inside.pop(), calls + 1
                inside[-1] += whole

        return outer

    def entered(name: str, inner: Any) -> Any:
        """Of a context manager: what it takes to come in."""

        @contextmanager
        def outer(*arguments: Any, **named: Any) -> Iterator[Any]:
            block = inner(*arguments, **named)
            entry = watched(name, block.__enter__)()
            try:
                yield entry
            finally:
                block.__exit__(None, None, None)

        return outer

    by, task = work
    with pytest.MonkeyPatch.context() as patch:
        for name, owner, attribute in places:
            wrap = entered if name in ("graph", "capture") else watched
            patch.setattr(owner, attribute, wrap(name, getattr(owner, attribute)))
        seen = watched("rest", by)(runner, task)
    return seen, spent


def show(plan: Plan, seen: Measurement) -> None:
    names = "+".join(launch.entry for launch in plan.launches)
    print(f"\n{names} {sum(b.nbytes for b in plan.buffers) / 1e6:.3f} MB, {seen.cold}, {seen.seconds:.2f} s")
    for name, series in [*seen.series.items(), *seen.launches.items()]:
        median, count = series.median, len(series.samples)
        share = (
            f"{100 * median.precision:.2f} % of {count} samples, {len(series.batches)} batches: {series.stop.reason}"
        )
        print(f"  {name:10} {median.value * 1e6:9.3f} us, {series.groups} groups a sample, {share}")
    for check in (seen.before, seen.after):
        if check is not None and not check.passed:
            print(f"  {check.kind}: {check.failure}")
    for note in (seen.refusal, *seen.notes, *(note for s in seen.series.values() for note in s.notes)):
        print(f"  note: {note}" if note else "", end="\n" if note else "")
    if seen.energy is not None:
        print(f"  energy: {seen.energy}")
