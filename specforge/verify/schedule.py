"""Whether a result depends on the order of threads: two runs of the same inputs, compared bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from specforge.verify.example import NATURAL
from specforge.verify.reference import widen

if TYPE_CHECKING:
    from specforge.spec.geometry import Plan
    from specforge.verify.compare import Array

REVERSED = 1


def partner(schedule: int) -> int:
    """The schedule that an example is run a second time under: the natural order; the reversed one for that itself."""
    return REVERSED if schedule == NATURAL else NATURAL


def difference(
    case: Plan, first: Mapping[str, Array], second: Mapping[str, Array], where: tuple[str, str]
) -> str | None:
    """The first element whose bits differ, with both values and `where` each was seen; None where all are equal.

    Outputs in storage types. `where` is such as `under schedule 0`; `in one run` on a card.
    """
    for buffer in case.buffers:
        if not buffer.is_judged:
            continue
        one, other = np.ascontiguousarray(first[buffer.name]), np.ascontiguousarray(second[buffer.name])
        bits = f"u{one.itemsize}"
        unequal = one.view(bits) != other.view(bits)
        count = int(np.count_nonzero(unequal))
        if not count:
            continue
        index = tuple(int(place) for place in np.unravel_index(int(np.argmax(unequal)), buffer.shape))
        values = _texts(widen(one)[index].item(), widen(other)[index].item())
        element = f"{buffer.name}[{', '.join(map(str, index))}]"
        share = f"; {count:,} of {unequal.size:,} elements differ" if unequal.size > 1 else ""
        return f"{element} is {values[0]} {where[0]} and {values[1]} {where[1]}{share}"
    return None


def _texts(one: float, other: float) -> tuple[str, str]:
    """Both values with as few digits as tell them apart."""
    for digits in (4, 6, 9, 17):
        texts = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if texts[0] != texts[1]:
            break
    return texts
