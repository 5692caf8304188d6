"""Keeping cold tensors cold: how many copies a measurement rotates through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specforge.backend.buffers import lay_out
from specforge.measure.roofline import cold_read
from specforge.units import format_quantity

if TYPE_CHECKING:
    from specforge.measure.measurement import Cold
    from specforge.spec.geometry import Plan
    from specforge.spec.timing import Mode

TIMES_L2 = 4
"""Cold tensors rotate through copies that total at least this many times the card's L2."""
HEADROOM = 1 << 29
"""Bytes of the card left alone: the driver's own needs, graphs, local memory, a display."""
MOST_COPIES = 1024
"""Small tensors would need hundreds of thousands; beyond this many, a scrub between launches does the rest."""
LINKS = 512
"""Copies of a chain's output, at most and where L2 easily holds them: each link's result is there to be checked."""


class DoesNotFit(Exception):
    """The copies that a cold measurement needs do not fit into the card's memory."""


@dataclass(frozen=True, slots=True)
class Residency:
    """How often each tensor is there, and what else keeps cold ones cold. All sizes are bytes."""

    copies: dict[str, int]
    rotations: int
    """Copies of each cold tensor: after so many launch groups the first bytes are used again."""
    cold_bytes: int
    """One copy of all cold tensors, of each what a launch group reads."""
    scrub_bytes: int
    """Other memory read before every isolated launch group, outside the timed stretch."""
    total: int
    """Spare memory whose reading displaces all else: TIMES_L2 times the card's L2; 0 where nothing is cold."""

    @property
    def rotated_bytes(self) -> int:
        """Bytes that pass through L2 before the first ones are used again; 0 where nothing is cold."""
        return self.rotations * (self.cold_bytes + self.scrub_bytes)


def plan_residency(plan: Plan, l2_bytes: int, available_bytes: int, *, linked: bool = False) -> Residency:
    """Choose the number of copies of every tensor; raises DoesNotFit with both sizes.

    Two copies at least, so that no launch runs on the addresses of the one before; a single copy that alone exceeds the
    total asked will do where two do not fit. `linked`: the plan's chain will be run, so hot outputs that are the next
    group's inputs have several copies too, all of which stay in L2.
    """
    cold = [buffer for buffer in plan.buffers if buffer.residency == "cold"]
    cold_bytes = sum(buffer.passing for buffer in cold)
    copies = {buffer.name: 1 for buffer in plan.buffers if buffer.residency == "hot"}
    for name in plan.chain.values() if linked else ():
        if name in copies:
            copies[name] = max(2, min(LINKS, l2_bytes // 8 // plan.buffer(name).nbytes))
    total = TIMES_L2 * l2_bytes if cold else 0
    enough = min(_ceil(total, cold_bytes), MOST_COPIES) if cold else 1
    least = 2 if linked and set(plan.chain.values()) & {buffer.name for buffer in cold} else 1
    for count in dict.fromkeys((max(2, enough), max(least, enough)) if cold else (1,)):
        rotated = copies | dict.fromkeys((buffer.name for buffer in cold), count)
        found = Residency(rotated, count, cold_bytes, max(0, _ceil(total, count) - cold_bytes), total)
        due = lay_out(plan, copies=rotated, spare=total).nbytes + HEADROOM
        if due <= available_bytes:
            return found
    raise DoesNotFit(
        f"{due / 2**30:.1f} GiB are needed for {count} rotations of the tensors, "
        f"{available_bytes / 2**30:.1f} GiB are free"
    )


def label_cold(
    plan: Plan, displaced: bool, medians: Mapping[Mode, float], bandwidth: float | None
) -> tuple[Cold, str | None]:
    """The label of a measured case and, where it is `unproven`, why.

    `displaced`: every cold copy had TIMES_L2 times the card's L2 pass by before its use. `medians` are seconds by mode,
    `bandwidth` what the card's memory gives at most, in bytes per second; None where nobody knows it.
    """
    if all(buffer.residency == "hot" for buffer in plan.buffers):
        return "hot", None
    if not displaced:
        return "unproven", f"cold is unproven: less than {TIMES_L2} times the card's L2 passed between two uses"
    if bandwidth is None:
        return "unproven", "cold is unproven: nobody knows the bandwidth of this card's memory"
    for mode, seconds in medians.items():
        size = cold_read(plan, mode)
        if size > bandwidth * seconds:
            rate, most = format_quantity(size / seconds, "B/s"), format_quantity(bandwidth, "B/s")
            return "unproven", f"cold is unproven: cold inputs came at {rate} ({mode}), memory gives {most} at most"
    return "proven", None


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
