"""What timing costs where there is nothing to time: one reading of the instrument for each session."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from specforge.backend.cuda import CudaRunner
from specforge.backend.runner import Runner
from specforge.measure.series import Mode

SAMPLES = 100
NODES = 512
"""Launches in a graph."""


@dataclass(frozen=True, slots=True)
class Floors:
    """Medians, in seconds."""

    event_overhead: float
    """Between two events with nothing between them."""
    null: dict[Mode, float] = field(default_factory=dict)
    """One launch of a kernel that does nothing, by mode; `overlapped` only on cards that know dependent launches."""


def measure_floors(runner: Runner, payload: None = None) -> Floors:
    """Measure them on a card; a task for a worker. Raises TypeError for a runner that is no card."""
    if not isinstance(runner, CudaRunner):
        raise TypeError(f"{runner.name} measures nothing: its times are not a kernel's")
    runner.launch_empty()
    null: dict[Mode, float] = {"isolated": median(runner.time([runner.launch_empty] * SAMPLES))}
    null["amortised"] = _in_graph(runner, early=False)
    if runner.overlaps:
        runner.launch_empty(early=True)
        null["overlapped"] = _in_graph(runner, early=True)
    return Floors(median(runner.time([_nothing] * SAMPLES)), null)


def _in_graph(runner: CudaRunner, *, early: bool) -> float:
    def enqueue() -> None:
        for number in range(NODES):
            runner.launch_empty(early=early and number > 0)

    with runner.captured(enqueue) as replay:
        runner.time([replay])
        return median(runner.time([replay] * SAMPLES)) / NODES


def _nothing() -> None:
    pass
