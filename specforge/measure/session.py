"""What a run measures once, before its first case: what the instrument costs and what the card reaches."""

from __future__ import annotations

from dataclasses import dataclass, field

from specforge.measure.calibration import Calibration
from specforge.measure.floors import Floors


@dataclass(frozen=True, slots=True)
class Session:
    """One run's own floors and calibration; None where they could not be had, and `missing` says by name why."""

    floors: Floors | None = None
    calibration: Calibration | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def overhead(self) -> float:
        """Seconds that a launch alone between two events takes over one in a row of many; 0 where it is not known."""
        null = {} if self.floors is None else self.floors.null
        return max(0.0, null["isolated"] - null["amortised"]) if {"isolated", "amortised"} <= null.keys() else 0.0
