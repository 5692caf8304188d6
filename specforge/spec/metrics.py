"""The registry of metrics: what can be measured, in which unit, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from specforge.spec.timing import Mode

Stage = Literal["validate", "render", "build", "verify", "measure", "judge"]
"""The steps that `--until` can name, in order."""

STAGES: tuple[Stage, ...] = ("validate", "render", "build", "verify", "measure", "judge")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `unit` is a base unit of `units.UNITS`, or `1` for a plain number."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    scope: Literal["static", "portable", "device"]
    """static: from the compiler or kernel.yaml. portable: a share or ratio that any card can show.

    device: absolute, of one card.
    """
    stage: Stage
    """The step that decides it."""
    summary: str
    mode: Mode | None = None
    """The mode of timing that it is computed from."""
    peer: bool = False
    """Whether it is a ratio to a peer, which its target names."""


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "specialised",
            "1",
            "higher",
            "static",
            "validate",
            "Whether a case hits the kernel's fast variant, as kernel.yaml says: 1, or 0 for the slow path.",
        ),
        Metric("registers", "1", "lower", "static", "build", "Registers per thread, the most of any launch (ptxas)."),
        Metric(
            "spill_bytes",
            "B",
            "lower",
            "static",
            "build",
            "Bytes of spill stores and loads, summed over launches (ptxas).",
        ),
        Metric(
            "stack_bytes",
            "B",
            "lower",
            "static",
            "build",
            "Stack frame per thread, the most of any launch (ptxas); a local array shows here.",
        ),
        Metric(
            "static_shared_bytes",
            "B",
            "lower",
            "static",
            "build",
            "Static shared memory per block, the most of any launch (ptxas).",
        ),
        Metric("cubin_bytes", "B", "lower", "static", "build", "Size of the compiled binary without debug sections."),
        Metric(
            "occupancy",
            "%",
            "higher",
            "static",
            "build",
            "Theoretical share of resident warps, the least of any launch.",
        ),
        Metric(
            "error_ratio",
            "1",
            "lower",
            "portable",
            "verify",
            "Worst error of any output element over its tolerance; above 1 is wrong.",
        ),
        Metric(
            "latency",
            "s",
            "lower",
            "device",
            "measure",
            "Isolated time of one launch group, cold tensors cold: median between two events.",
            "isolated",
        ),
        Metric(
            "bandwidth",
            "B/s",
            "higher",
            "device",
            "measure",
            "The work model's bytes over the median latency.",
            "isolated",
        ),
        Metric(
            "peak_bandwidth_share",
            "%",
            "higher",
            "portable",
            "measure",
            "Bandwidth as a share of the datasheet's, of the card that ran.",
            "isolated",
        ),
        Metric(
            "roofline_share",
            "%",
            "higher",
            "portable",
            "measure",
            "The roofline's least time over the median latency, on the card that ran.",
            "isolated",
        ),
        Metric(
            "amortised_latency",
            "s",
            "lower",
            "device",
            "measure",
            "Time per launch group inside a graph of many, each on its own cold copies: median.",
            "amortised",
        ),
        Metric(
            "overlapped_latency",
            "s",
            "lower",
            "device",
            "measure",
            "Time per launch group inside a graph in which each may start before the one ahead has ended: median.",
            "overlapped",
        ),
        Metric(
            "amortised_bandwidth",
            "B/s",
            "higher",
            "device",
            "measure",
            "The work model's bytes over the median amortised latency.",
            "amortised",
        ),
        Metric(
            "achievable_bandwidth_share",
            "%",
            "higher",
            "portable",
            "measure",
            "Amortised bandwidth as a share of what the calibration kernel reads on the same card in the same run.",
            "amortised",
        ),
        Metric(
            "energy",
            "J",
            "lower",
            "device",
            "measure",
            "Energy of one launch group from the card's counter, over amortised batches: median.",
            "amortised",
        ),
        Metric(
            "tokens_per_joule",
            "tok/J",
            "higher",
            "device",
            "measure",
            "The work model's tokens over the energy of one launch group.",
            "amortised",
        ),
        Metric(
            "speedup",
            "1",
            "higher",
            "portable",
            "measure",
            "A peer's isolated time over the kernel's, both measured in the same run.",
            "isolated",
            peer=True,
        ),
        Metric(
            "amortised_speedup",
            "1",
            "higher",
            "portable",
            "measure",
            "A peer's amortised time over the kernel's, both measured in the same run.",
            "amortised",
            peer=True,
        ),
        Metric(
            "decode_throughput",
            "tok/s",
            "higher",
            "device",
            "measure",
            "Tokens per second of single-stream decode at a context depth.",
        ),
    )
}
"""Metric name -> Metric. The order is the order of the documentation."""
