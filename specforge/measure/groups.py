"""How many launch groups one graph holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specforge.measure.residency import Residency

SAMPLE = 1e-3
"""Seconds that a sample lasts where it can: starting a graph costs about 3 us and an event ticks in 0.5 us."""
LONGEST = 20e-3
"""Seconds that a sample may last for every cold copy to have its turn; beyond, a scrub between samples is cheaper."""
LEAST = 2
"""Launch groups in a sample, where so many last no longer than LONGEST: a graph's start is 0.2 % of two of 1 ms."""
NODES = 1024
"""Launches in one graph, at most: the driver's queue has about so many places."""


@dataclass(frozen=True, slots=True)
class Groups:
    """`count` launch groups, each on the next rotation of the cold tensors, starting anew with every replay."""

    count: int
    scrub: bool
    """Between two replays other memory is read, outside the timed stretch, as the rotation alone is too short."""

    def displaces(self, residency: Residency) -> bool:
        """Whether the bytes that pass between two uses of a cold copy suffice."""
        if self.scrub:
            return self.count <= residency.rotations
        whole = self.count % residency.rotations == 0
        return whole and residency.rotations * residency.cold_bytes >= residency.total


def choose_groups(residency: Residency, launches: int, seconds: float) -> Groups:
    """Choose by what one launch group takes, in seconds, and how many launches it has.

    Without a scrub every cold copy gets its turn, each as often as the others. With one, no copy is used twice.
    """
    most = max(1, NODES // launches)
    seconds = max(seconds, 1e-9)
    wanted = min(most, max(round(SAMPLE / seconds), min(LEAST, int(LONGEST / seconds)), 1))
    if not residency.cold_bytes:
        return Groups(wanted, False)
    cycle = residency.rotations
    whole = -(-wanted // cycle) * cycle
    if whole > most:
        whole = most // cycle * cycle
    if whole and whole * seconds <= LONGEST and cycle * residency.cold_bytes >= residency.total:
        return Groups(whole, False)
    return Groups(min(wanted, cycle), True)


def groups_again(count: int, residency: Residency) -> Groups | None:
    """What was chosen before, by its count: another process times the same graph, and a chain comes as far in it.

    None where this process has room for other copies, so that none of so many groups would be cold.
    """
    return next((each for scrub in (False, True) if (each := Groups(count, scrub)).displaces(residency)), None)
