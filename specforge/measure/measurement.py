"""Everything that measuring one case in one process leaves behind, in plain numbers that JSON can hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from specforge.backend.energy import Energy
from specforge.backend.telemetry import Telemetry
from specforge.measure.series import Mode, Series
from specforge.verify.example import ExampleResult

Cold = Literal["proven", "unproven", "hot"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One case on one card in one process, in seconds and bytes; empty or None where a step was not reached."""

    card: str
    uuid: str
    binary_sha256: str
    series: dict[Mode, Series] = field(default_factory=dict)
    """By mode: whole launch groups."""
    launches: dict[str, Series] = field(default_factory=dict)
    """Of a group of several launches, each alone between two events, by entry; one that stands twice is `entry#2`."""
    cold: Cold = "unproven"
    """`proven`: every cold tensor was displaced before its use, and no mode read them faster than memory allows.

    `unproven`: one of the two is not so, or the card's bandwidth is not known; a note says which. `hot`: none is cold.
    """
    copies: dict[str, int] = field(default_factory=dict)
    cold_bytes: int = 0
    """One copy of all cold tensors."""
    rotated_bytes: int = 0
    """Bytes that pass through L2 before a cold tensor's copy is used again; 0 where no tensor is cold."""
    before: ExampleResult | None = None
    """The check ahead of the timing."""
    after: ExampleResult | None = None
    """The check of what timed launches of every mode wrote."""
    energy: Energy | None = None
    """Joules per launch group, amortised; None with a note where they were asked for and cannot be had."""
    telemetry: Telemetry | None = None
    """The card before anything was timed."""
    refusal: str | None = None
    """Why nothing was timed."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    """Wall time of the whole task."""

    @property
    def verified(self) -> bool:
        """Whether both checks were made and passed."""
        return self.before is not None and self.before.passed and self.after is not None and self.after.passed

    def refused(self, reason: str) -> Measurement:
        """The same, ended for a reason."""
        return replace(self, refusal=reason)

    def noted(self, *notes: str) -> Measurement:
        """The same with more notes; one that stands there already is not repeated."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))
