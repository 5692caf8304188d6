"""What timing one case in one mode leaves behind: batches of samples, and why they ended.

A launch group is timed in up to three modes. They answer three questions and never stand in for one another:
`isolated`: one group between two events. `amortised`: per group, one after the other inside a captured graph.
`overlapped`: the same where each group reads what the one before it wrote and may start before that has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specforge.backend.telemetry import Telemetry
from specforge.measure.samples import Median, estimate_median
from specforge.spec.timing import MODES, Mode

if TYPE_CHECKING:
    from specforge.measure.stopping import Stop

__all__ = ["MODES", "Batch", "Mode", "Series"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples taken in one go: seconds per launch group each, in the order taken."""

    samples: tuple[float, ...]
    telemetry: Telemetry
    """The card's state right after them; what is not of its clocks may be `telemetry.RECENT` old."""
    discarded: str | None = None
    """Why the batch does not count; its samples are kept all the same."""


@dataclass(frozen=True, slots=True)
class Series:
    """One mode's batches in the order taken."""

    mode: Mode
    groups: int
    """Launch groups inside one sample; a sample is their time divided by this number."""
    batches: tuple[Batch, ...]
    warmup: int
    """Samples thrown away ahead of the first batch."""
    stop: Stop
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[float, ...]:
        """Those of the batches that count, in order."""
        return tuple(sample for batch in self.batches if batch.discarded is None for sample in batch.samples)

    @property
    def median(self) -> Median:
        """The middle of the samples; raises ValueError where no batch counts."""
        return estimate_median(self.samples)
