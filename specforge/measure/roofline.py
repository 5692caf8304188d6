"""The least time that physics allows a case on a card; a measurement below it is wrong, not fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specforge.spec.geometry import Plan
    from specforge.spec.timing import Mode


def least_seconds(plan: Plan, memory_bandwidth: float, arithmetic_rate: float, mode: Mode = "isolated") -> float:
    """The roofline's floor from bytes per second of memory and operations per second of the fastest unit there is."""
    return max(cold_read(plan, mode) / memory_bandwidth, plan.flops / arithmetic_rate)


def cold_read(plan: Plan, mode: Mode = "isolated") -> float:
    """Bytes of a launch group that surely come from memory.

    What cold inputs hold, as writes may stay in L2, and at most what the work model says must move, as a kernel may
    rightly skip parts of an input. Not what is updated in place: it may be written alone. A chain's inputs were just
    written by the group before: not in `overlapped`.
    """
    linked = plan.chain if mode == "overlapped" else {}
    cold = sum(
        buffer.passing
        for buffer in plan.buffers
        if buffer.role == "in" and buffer.residency == "cold" and buffer.name not in linked
    )
    return min(plan.bytes, cold)
