"""Everything one measured case leaves behind, in plain numbers that JSON can hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from specforge.backend.telemetry import Telemetry
from specforge.verify.example import ExampleResult

if TYPE_CHECKING:
    from specforge.measure.samples import Median
    from specforge.measure.timing import Collected


@dataclass(frozen=True, slots=True)
class Measurement:
    """One case on one card. Times are seconds, sizes bytes; None where a step was not reached."""

    card: str
    uuid: str
    binary_sha256: str
    samples: tuple[float, ...] = ()
    """Isolated time of one launch group each, in the order taken; none is left out."""
    median: float | None = None
    low: float | None = None
    high: float | None = None
    """The median's confidence interval of 95 %."""
    precision: float | None = None
    """Half that interval as a share of the median."""
    converged: bool = False
    empty_kernel: float | None = None
    """Median time of a kernel that does nothing, taken the same way just before."""
    warmup: int = 0
    """Launches thrown away ahead of the samples."""
    floor: float | None = None
    """The least time that the card's datasheet allows this case."""
    implausible: bool = False
    """The median lies below that floor."""
    copies: dict[str, int] = field(default_factory=dict)
    cold_bytes: int = 0
    scrub_bytes: int = 0
    rotated_bytes: int = 0
    """Bytes that pass through L2 before a cold tensor's copy is used again; 0 where no tensor is cold."""
    before: ExampleResult | None = None
    """The check ahead of the timing."""
    after: ExampleResult | None = None
    """The check of what the last timed launch wrote."""
    telemetry_before: Telemetry | None = None
    telemetry_after: Telemetry | None = None
    throttled: tuple[str, ...] = ()
    """Whatever slowed the card at any moment that was looked at."""
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

    def placed(self, copies: dict[str, int], cold_bytes: int, scrub_bytes: int, rotated_bytes: int) -> Measurement:
        """The same, with what keeps cold tensors cold."""
        return replace(self, copies=copies, cold_bytes=cold_bytes, scrub_bytes=scrub_bytes, rotated_bytes=rotated_bytes)

    def checked(self, before: ExampleResult, after: ExampleResult | None) -> Measurement:
        """The same, with what the checks found."""
        return replace(self, before=before, after=after)

    def timed(
        self, collected: Collected, median: Median, converged: bool, empty_kernel: float, floor: float | None
    ) -> Measurement:
        """The same, with its samples and what follows from them."""
        return replace(
            self,
            samples=collected.samples,
            warmup=collected.warmup,
            median=median.value,
            low=median.low,
            high=median.high,
            precision=median.precision if math.isfinite(median.precision) else None,
            converged=converged,
            empty_kernel=empty_kernel,
            floor=floor,
            implausible=floor is not None and median.value < floor,
        )

    def observed(self, before: Telemetry, after: Telemetry, throttled: tuple[str, ...]) -> Measurement:
        """The same, with the state of the card around the samples and notes for a reader."""
        notes = []
        if throttled:
            notes.append(f"the card was slowed: {', '.join(throttled)}")
        if before.foreign_processes or after.foreign_processes:
            others = sorted({*before.foreign_processes, *after.foreign_processes})
            notes.append(f"other processes used the card: {', '.join(map(str, others))}")
        if not self.converged:
            notes.append(f"the median did not settle within {len(self.samples)} samples")
        return replace(
            self,
            telemetry_before=before,
            telemetry_after=after,
            throttled=throttled,
            notes=(*self.notes, *notes),
        )

    def lasting(self, seconds: float) -> Measurement:
        """The same, with the wall time it took."""
        return replace(self, seconds=seconds)
