"""The table of a report: one row per target, showing its worst case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from specforge.judge.verdict import Verdict
from specforge.record.model import BenchmarkEntry, CaseEntry, JudgementEntry, Record, TargetEntry
from specforge.units import UNITS, format_quantity

SEVERITY: tuple[Verdict, ...] = (
    Verdict.WRONG,
    Verdict.ERROR,
    Verdict.IMPLAUSIBLE,
    Verdict.MISSED,
    Verdict.INCONCLUSIVE,
    Verdict.UNMEASURED,
    Verdict.KNOWN_MISS,
    Verdict.UNEXPECTED_MET,
    Verdict.MET,
    Verdict.SKIPPED,
)
"""Worst first: a row shows the worst of its cases, and nothing is averaged away."""

Tone = Literal["bad", "open", "good", "quiet"]
TONES: dict[Verdict, Tone] = {
    Verdict.WRONG: "bad",
    Verdict.ERROR: "bad",
    Verdict.IMPLAUSIBLE: "bad",
    Verdict.MISSED: "bad",
    Verdict.INCONCLUSIVE: "open",
    Verdict.UNMEASURED: "open",
    Verdict.KNOWN_MISS: "open",
    Verdict.UNEXPECTED_MET: "good",
    Verdict.MET: "good",
    Verdict.SKIPPED: "quiet",
}
"""How a verdict may be coloured: only what was decided well is good."""

SIGNS = {"at_most": "<=", "at_least": ">=", "equals": "=="}
NONE = "-"
MANY = 4
"""Benchmarks that have a row alike share one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One target over its cases. `worst` is the judgement that is shown; `alike` says that every case is the same."""

    benchmark: BenchmarkEntry
    target: TargetEntry
    judgements: tuple[JudgementEntry, ...]
    worst: JudgementEntry
    alike: bool

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of any of its cases."""
        return Verdict(self.worst.verdict)

    @property
    def title(self) -> str:
        """The metric, with the peer that it is taken over and the level where it is not `required`."""
        return f"{self.subject} {self.level}".rstrip()

    @property
    def subject(self) -> str:
        """The metric, with the peer that it is taken over."""
        return f"{self.target.metric} over {self.target.peer}" if self.target.peer else self.target.metric

    @property
    def level(self) -> str:
        """`(warn)` or `(record)`; empty for a target that counts."""
        return "" if self.target.level == "required" else f"({self.target.level})"

    @property
    def condition(self) -> str:
        """For which cases it holds, where the worst case does not say so already; empty where it holds for all."""
        return f"when {self.target.when}" if self.target.when and len(self.judgements) > 1 else ""

    @property
    def text(self) -> str:
        """The whole target as a person says it."""
        condition = f" when {self.target.when}" if self.target.when else ""
        return f"{self.subject} {self.bound}{condition}"

    @property
    def place(self) -> str:
        """The only case's values on its axes, or the worst's; empty where all cases are the same."""
        row = case_row(self.worst.case)
        return "" if self.alike or not row else row if len(self.judgements) == 1 else f"worst {row}"

    @property
    def measured(self) -> str:
        """The worst case's value with its unit."""
        return self.value_of(self.worst)

    @property
    def bound(self) -> str:
        """The bound with its sign and unit."""
        return f"{SIGNS[self.target.comparison]} {quantity(self.target.bound, self.target.unit)}"

    @property
    def margin(self) -> str:
        """Distance to the bound relative to the bound, negative beyond it; none where the kernel itself is at fault."""
        if self.worst.margin is None or self.verdict in (Verdict.WRONG, Verdict.ERROR, Verdict.IMPLAUSIBLE):
            return NONE
        return f"{self.worst.margin * 100:+.1f} %"

    @property
    def coverage(self) -> str:
        """Cases that the target holds for, of all cases of its benchmark."""
        return f"{len(self.target.cases)}/{self.benchmark.cases}"

    def value_of(self, judgement: JudgementEntry) -> str:
        """A judgement's value with its unit."""
        return NONE if judgement.value is None else quantity(judgement.value, self.target.unit)

    def having(self, verdict: Verdict) -> list[JudgementEntry]:
        """Its judgements with that verdict."""
        return [judgement for judgement in self.judgements if judgement.verdict == verdict]


def rows(record: Record) -> list[Row]:
    """Every target that has a case, in the spec's order: benchmark by benchmark."""
    judged: dict[str, list[JudgementEntry]] = {}
    for judgement in record.judgements:
        judged.setdefault(judgement.target, []).append(judgement)
    found = []
    for benchmark in record.benchmarks:
        for target in record.targets:
            here = judged.get(target.id, [])
            if target.benchmark == benchmark.name and here:
                found.append(_row(benchmark, target, here))
    return found


def shared(found: list[Row]) -> list[list[Row]]:
    """Rows that say the same of many benchmarks: the same exact value is asked for, and met, in all their cases."""
    groups: dict[str, list[Row]] = {}
    for row in found:
        if row.verdict is Verdict.MET and row.target.comparison == "equals" and not row.level:
            groups.setdefault(row.text, []).append(row)
    return [group for group in groups.values() if len(group) >= MANY]


def _row(benchmark: BenchmarkEntry, target: TargetEntry, judgements: list[JudgementEntry]) -> Row:
    worst = worst_of(judgements)
    alike = len(judgements) > 1 and len({(judgement.verdict, judgement.value) for judgement in judgements}) == 1
    return Row(benchmark, target, tuple(judgements), worst, alike)


def worst_of(judgements: Iterable[JudgementEntry]) -> JudgementEntry:
    """The worst verdict and, among those, the one furthest on the wrong side of its bound."""
    return min(judgements, key=lambda judgement: (SEVERITY.index(Verdict(judgement.verdict)), _room(judgement)))


def _room(judgement: JudgementEntry) -> float:
    if judgement.margin is not None:
        return judgement.margin
    return -abs(judgement.value or 0.0)  # against a bound of zero, any distance is a breach


def case_row(case: str) -> str:
    """The axis values in a case's id; empty for a benchmark with a single case."""
    return case.partition("[")[2].removesuffix("]")


def quantity(value: float, unit: str) -> str:
    """A value with its unit; one in a unit that this version does not know is shown as it stands."""
    return format_quantity(value, unit) if unit in UNITS or unit == "1" else f"{value:g} {unit}"


def cases_line(record: Record) -> str:
    """How many cases there are and what they are for."""
    cases = sum(benchmark.cases for benchmark in record.benchmarks)
    targeted = sum(benchmark.targeted for benchmark in record.benchmarks)
    excluded = sum(len(benchmark.excluded) for benchmark in record.benchmarks)
    line = f"{cases} {'case' if cases == 1 else 'cases'}, {targeted} targeted, {cases - targeted} record-only"
    return line + (f"; {excluded} excluded" if excluded else "")


def step_lines(record: Record) -> list[str]:
    """For each decode step, how many of its parts have a kernel, and which have none."""
    found = []
    for benchmark in record.benchmarks:
        left = [part for part in benchmark.parts if part not in benchmark.covered_parts]
        count = f"{len(benchmark.covered_parts)} of {len(benchmark.parts)} kernels of the {benchmark.name} step"
        found += [f"{count} are covered" + (f", not {', '.join(left)}" if left else "")] if benchmark.parts else []
    return found


def variant_lines(record: Record) -> list[str]:
    """How many cases hit the fast variant, of those whose kernel says so; benchmarks by name where some miss it."""
    every, slow, where = 0, 0, []
    for benchmark in record.benchmarks:
        known = [case.metrics["specialised"].value for case in record.cases if _says(case, benchmark.name)]
        missing = sum(value != 1 for value in known)
        every, slow = every + len(known), slow + missing
        where += [f"{missing} of {len(known)} of {benchmark.name}"] if missing else []
    if not slow:
        return [f"all {every} cases that have a fast variant hit it"] if every else []
    return [f"{every - slow} of {every} cases that have a fast variant hit it, not {', '.join(where)}"]


def _says(case: CaseEntry, benchmark: str) -> bool:
    return case.benchmark == benchmark and "specialised" in case.metrics


def ran_on(record: Record) -> str:
    """Which backend ran, and what that means for the targets."""
    backend = record.environment.backend
    if backend == "none":
        return "nothing was executed"
    if backend == "emulator":
        return "ran on the CPU emulator"
    return f"ran on {backend}" + ("" if record.environment.device_matches else ", which is not this spec's card")


def device_line(record: Record) -> str:
    """The spec's device and architecture."""
    name = f"{record.device_name} ({record.device}, " if record.device_name else f"{record.device} ("
    return f"{name}{record.architecture})"
