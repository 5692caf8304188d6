"""Checks of what timed launches wrote that wait for the reference: it is asked where no card waits for its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from specforge.measure.measurement import Measurement
from specforge.measure.series import Mode
from specforge.verify.compare import judge
from specforge.verify.example import ExampleResult

if TYPE_CHECKING:
    from specforge.spec.geometry import Plan
    from specforge.verify.compare import Array


@dataclass(frozen=True, slots=True)
class Owed:
    """One check that is still to be made."""

    mode: Mode
    what: str
    """Words on the launch group that is checked; empty where the mode says it all."""
    given: dict[str, Array]
    """What that group found in inputs that a launch before it wrote; its other inputs are the case's own."""
    found: dict[str, Array]
    """The outputs that it left, in storage types."""

    def settled(self, plan: Plan, want: dict[str, Array]) -> ExampleResult:
        """The outputs against what the reference makes of these inputs."""
        return in_mode(self.mode, ruled(plan, self.found, want, self.what))


@dataclass(frozen=True, slots=True)
class Timed:
    """One case as a process timed it. Its measurement lacks the check `after` until what is owed is settled."""

    measurement: Measurement
    after: ExampleResult | None = None
    """The worst of the checks that were made; None where none was, or nothing was timed."""
    owed: tuple[Owed, ...] = ()

    def settled(self, found: Sequence[ExampleResult]) -> Measurement:
        """The measurement with the worst of all checks; `found` has one result for each that is owed."""
        if len(found) != len(self.owed):
            raise ValueError(f"{len(found)} results for {len(self.owed)} checks that are owed")
        checks = [check for check in (self.after, *found) if check is not None]
        return replace(self.measurement, after=worst(checks) if checks else None)


def in_mode(mode: Mode, found: ExampleResult) -> ExampleResult:
    """A result that says in which mode it failed."""
    return found if found.passed else replace(found, failure=f"{mode}: {found.failure}")


def worst(checks: Sequence[ExampleResult]) -> ExampleResult:
    """The first that failed; where none did, the largest error, or any that compared where none has one."""
    largest = max(checks, key=lambda check: (check.ratio, len(check.errors)))
    return next((check for check in checks if not check.passed), largest)


def ruled(plan: Plan, found: Mapping[str, Array], want: Mapping[str, Array], what: str = "") -> ExampleResult:
    """Outputs against the reference's; `what` stands ahead of what is wrong."""
    errors = judge(plan, found, want)
    wrong = "; ".join(str(error) for error in errors if not error.passed)
    return ExampleResult("wrong" if wrong else "ok", f"{what}{wrong}" if wrong else None, errors)
