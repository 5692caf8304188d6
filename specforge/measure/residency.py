"""Keeping cold tensors cold: how many copies a measurement rotates through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specforge.backend.buffers import lay_out

if TYPE_CHECKING:
    from specforge.spec.geometry import Plan

TIMES_L2 = 4
"""Cold tensors rotate through copies that total at least this many times the card's L2."""
HEADROOM = 1 << 29
"""Bytes of the card left alone: the driver's own needs, local memory, a display."""
MOST_COPIES = 1024
"""Small tensors would need hundreds of thousands; beyond this many, a scrub between launches does the rest."""


class DoesNotFit(Exception):
    """The copies that a cold measurement needs do not fit into the card's memory."""


@dataclass(frozen=True, slots=True)
class Residency:
    """How often each tensor is there, and what else keeps cold ones cold. All sizes are bytes."""

    copies: dict[str, int]
    cold_bytes: int
    """One copy of all cold tensors."""
    scrub_bytes: int
    """Written to other memory before every launch, outside the timed stretch."""

    @property
    def rotations(self) -> int:
        """After so many launches the first bytes are used again."""
        return max(self.copies.values(), default=1)

    @property
    def rotated_bytes(self) -> int:
        """Bytes that pass through L2 before the first ones are used again; 0 where nothing is cold."""
        return self.rotations * (self.cold_bytes + self.scrub_bytes)

    @property
    def spare_bytes(self) -> int:
        """Memory that the scrubs rotate through."""
        return self.rotations * self.scrub_bytes


def plan_residency(plan: Plan, l2_bytes: int, available_bytes: int) -> Residency:
    """Choose the number of copies of every tensor; raises DoesNotFit with both sizes.

    Two copies at least, so that no launch runs on the addresses of the one before; a single copy that alone exceeds the
    total asked will do where two do not fit.
    """
    cold = [buffer for buffer in plan.buffers if buffer.residency == "cold"]
    cold_bytes = sum(buffer.nbytes for buffer in cold)
    hot = {buffer.name: 1 for buffer in plan.buffers if buffer.residency == "hot"}
    if not cold:
        candidates = [Residency(hot, 0, 0)]
    else:
        total = TIMES_L2 * l2_bytes
        enough = min(_ceil(total, cold_bytes), MOST_COPIES)
        candidates = []
        for count in dict.fromkeys((max(2, enough), enough)):
            copies = hot | dict.fromkeys((buffer.name for buffer in cold), count)
            candidates.append(Residency(copies, cold_bytes, max(0, _ceil(total, count) - cold_bytes)))
    for residency in candidates:
        due = lay_out(plan, copies=residency.copies, spare=residency.spare_bytes).nbytes + HEADROOM
        if due <= available_bytes:
            return residency
    raise DoesNotFit(
        f"{due / 2**30:.1f} GiB are needed for {candidates[-1].rotations} rotations of the tensors, "
        f"{available_bytes / 2**30:.1f} GiB are free"
    )


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
