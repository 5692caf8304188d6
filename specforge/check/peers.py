"""A kernel's peers in a run: which are measured, what became of them, and the speedups that follow."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from specforge.backend.runner import KernelFault
from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.diagnostics import SpecForgeError
from specforge.judge.verdict import Value
from specforge.measure.case import MeasureTask
from specforge.measure.cell import Cell
from specforge.measure.compare import compare
from specforge.measure.peer import PeerCell, PeerMeasurement, PeerTask, make_peer, measure_peer
from specforge.spec.load import Benchmark
from specforge.spec.metrics import METRICS
from specforge.spec.peers import DeclaredPeer, declared_peers
from specforge.spec.target import value_key
from specforge.verify.crash import describe_crash

if TYPE_CHECKING:
    from specforge.check.jobs import Job

GUEST_MODULES = ("specforge.measure.peer", "specforge.backend.cuda", "torch", "triton")
"""What a process for peers imports ahead of its turn: none of these uses the card when it is imported."""
COMPILES = "triton"
"""The package whose peers compile when they are first run."""
MAKERS = 8
"""Processes at most that make peers at one time: each has its case's tensors on the card."""
SECONDS = 300.0
"""The longest that one peer may take in one process, compiling it included."""


def peers_of(benchmark: Benchmark, case: str, *, every: bool = False) -> tuple[DeclaredPeer, ...]:
    """The peers that targets name which hold for a case, or `every` one of its kernel; in their file's order."""
    kernel = benchmark.kernel
    if kernel is None or kernel.peers is None:
        return ()
    named = {target.peer for target in benchmark.targets if case in target.cases}
    return tuple(peer for name, peer in declared_peers(kernel.peers).items() if every or name in named)


def measure_round(worker: Worker, task: MeasureTask, peers: Sequence[DeclaredPeer]) -> dict[str, PeerMeasurement]:
    """Each peer once, by name, in a process of theirs alone: what one ruins is made anew for the next.

    Whatever a peer does makes it absent and nothing else.
    """
    return {peer.name: _measure(worker, task, peer) for peer in peers}


def make(job: Job, peer: DeclaredPeer, worker: Worker) -> None:
    """Have a peer compile what it needs, which is on disk then."""
    try:
        worker.call(make_peer, _task(job.task, peer), timeout=SECONDS)
    except (KernelFault, WorkerTimeout, WorkerCrashed, TaskFailed, SpecForgeError, OSError):
        worker.restart()  # the process that measures it meets the same, and says so


def kinds_first(jobs: Iterable[Job]) -> list[tuple[Job, DeclaredPeer]]:
    """The peers that compile, the first case of each before any second: that one finds most of its work done."""
    counted: Counter[tuple[str, str]] = Counter()
    found = []
    for job in jobs:
        for peer in job.peers:
            if COMPILES in peer.packages:
                kind = (job.task.plan.kernel, peer.name)
                found.append((counted[kind], job, peer))
                counted[kind] += 1
    return [(job, peer) for _, job, peer in sorted(found, key=lambda one: one[0])]


def _measure(worker: Worker, task: MeasureTask, peer: DeclaredPeer) -> PeerMeasurement:
    try:
        return worker.call(measure_peer, _task(task, peer), timeout=SECONDS)
    except KernelFault as fault:
        return absent_peer(peer, f"it ended with a fault: {fault}")
    except WorkerTimeout as late:
        return absent_peer(peer, str(late))
    except WorkerCrashed as crash:
        return absent_peer(peer, describe_crash(crash.reason, crash.output))
    except TaskFailed as failed:
        return absent_peer(peer, failed.summary)
    except SpecForgeError as error:
        return absent_peer(peer, "; ".join(item.message for item in error.diagnostics))


def _task(task: MeasureTask, peer: DeclaredPeer) -> PeerTask:
    return PeerTask(task, peer, hashlib.sha256(peer.position.file.read_bytes()).hexdigest())


def gather_rounds(rounds: Iterable[Mapping[str, PeerMeasurement]]) -> dict[str, PeerCell]:
    """What every process measured, by peer."""
    found: dict[str, list[PeerMeasurement]] = {}
    for one in rounds:
        for name, measurement in one.items():
            found.setdefault(name, []).append(measurement)
    return {name: PeerCell(tuple(measurements)) for name, measurements in found.items()}


def speedups(cell: Cell | None, peers: Mapping[str, PeerCell]) -> tuple[dict[str, Value], dict[str, str]]:
    """Every ratio to a peer by the key of its value, with its interval; and by key, why one is missing.

    A ratio needs both sides' samples of the same mode; the spread between processes on either side is in its interval.
    """
    values: dict[str, Value] = {}
    missing: dict[str, str] = {}
    for metric in METRICS.values():
        for name, peer in peers.items() if metric.peer and metric.mode is not None else ():
            key, mode = value_key(metric.name, name), metric.mode
            assert mode is not None
            kernel = [series.samples for series in cell.series(mode) if series.samples] if cell is not None else []
            others = peer.samples(mode)
            if peer.absent is not None:
                missing[key] = f"peer {name} is absent: {peer.absent}"
            elif not others:
                notes = [note for one in peer.rounds for note in one.notes if note.startswith(f"not {mode}")]
                missing[key] = f"peer {name}: {notes[0]}" if notes else f"peer {name} has no {mode} time"
            elif not kernel:
                missing[key] = f"the kernel has no {mode} time"
            elif (found := compare(kernel, others)) is None:
                missing[key] = "too few samples to bound the ratio"
            else:
                values[key] = Value(found.ratio, found.low, found.high)
    return values, missing


def absent_peer(peer: DeclaredPeer, reason: str) -> PeerMeasurement:
    """What stands for a peer that has no times, with its reason."""
    return PeerMeasurement(peer.name, peer.tolerance_times, peer.reason, absent=" ".join(reason.split())[:600])
