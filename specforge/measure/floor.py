"""The least time that physics allows a case on a card; a measurement below it is wrong, not fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specforge.spec.geometry import Plan


def least_seconds(plan: Plan, memory_bandwidth: float, arithmetic_rate: float) -> float:
    """The roofline's floor from bytes per second of DRAM and operations per second of the fastest unit that may serve.

    Bytes: what cold inputs hold, as only they surely come from DRAM (writes may stay in L2), and at most what the work
    model says must move, as a kernel may rightly skip parts of an input.
    """
    cold = sum(buffer.nbytes for buffer in plan.buffers if buffer.role == "in" and buffer.residency == "cold")
    return max(min(plan.bytes, cold) / memory_bandwidth, plan.flops / arithmetic_rate)
