"""What went wrong in a run, worst first: each with its sentence, its place in the YAML and the way to see it again."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from specforge.judge.verdict import Verdict
from specforge.record.model import CaseEntry, FuzzEntry, JudgementEntry, Record, TargetEntry
from specforge.report.rows import SEVERITY, Row, case_row, rows, worst_of

_KERNEL = (Verdict.WRONG, Verdict.ERROR, Verdict.IMPLAUSIBLE)
"""Verdicts that come from the kernel and not from a bound."""

_LEVELS = ("required", "warn", "record")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file; None where only the file is known."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """`file:line:column`, as editors and terminals understand it."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at.

    `others` counts further targets that it decides; only what is `required` affects the exit status.
    """

    verdict: Verdict
    subject: str
    sentence: str
    place: Place
    level: Literal["required", "warn", "record"] = "required"
    others: int = 0
    detail: str | None = None
    """Where in the sweep, and how often."""
    row: str | None = None
    """The smallest failing case as a YAML row."""
    replay: str | None = None


def findings(*records: Record) -> list[Finding]:
    """Everything that is wrong, failed, missed or undecided in these runs, worst first."""
    found: list[Finding] = []
    for record in records:
        fuzzed = (fuzz_finding(record, fuzz) for fuzz in record.fuzz)
        found += [finding for finding in fuzzed if finding is not None]
        found += [*_case_findings(record), *_target_findings(record)]
    return sorted(found, key=lambda finding: (_LEVELS.index(finding.level), SEVERITY.index(finding.verdict)))


def failures(record: Record) -> list[Finding]:
    """The findings that are decided against the kernel, less those on targets that only record."""
    decided = (*_KERNEL, Verdict.MISSED)
    return [finding for finding in findings(record) if finding.verdict in decided and finding.level != "record"]


def fuzz_finding(record: Record, fuzz: FuzzEntry) -> Finding | None:
    """What fuzzing a kernel left; None where it was clean.

    A search that its budget cut short proves what it ran, so that is a warning; one that ran nothing proves nothing.
    """
    targets = _targets_of_kernel(record, fuzz.kernel)
    place = place_of(targets[0]) if targets else _kernel_place(record, fuzz.kernel)
    if fuzz.failure is None:
        if fuzz.examples == 0:
            return Finding(Verdict.UNMEASURED, fuzz.kernel, "fuzzing ran no example", place)
        due = fuzz.effort.examples if fuzz.effort is not None else record.request.examples
        sentence = f"fuzzing ran out of time after {fuzz.examples:,} of {due:,} examples"
        return Finding(Verdict.INCONCLUSIVE, fuzz.kernel, sentence, place, "warn") if fuzz.out_of_time else None
    return Finding(
        Verdict.ERROR if fuzz.failure_kind == "fault" else Verdict.WRONG,
        fuzz.kernel,
        fuzz.failure,
        place,
        others=max(0, len(targets) - 1),
        detail=f"found by fuzzing on {'the emulator' if fuzz.backend == 'emulator' else fuzz.backend}",
        row=fuzz.failure_row,
        replay=fuzz.replay,
    )


def faults(case: CaseEntry) -> Iterator[tuple[Verdict, str]]:
    """What is wrong with a case's kernel, as verdict and sentence."""
    for verdict, sentence in (
        (Verdict.WRONG, case.wrong),
        (Verdict.ERROR, case.fault),
        (Verdict.IMPLAUSIBLE, case.implausible),
    ):
        if sentence is not None:
            yield verdict, sentence


def silent_faults(record: Record) -> list[tuple[CaseEntry, Verdict, str]]:
    """Faults of cases that no target's verdict shows; they count all the same."""
    shown = {(judgement.case, judgement.verdict) for judgement in record.judgements if not judgement.infrastructure}
    return [
        (case, verdict, sentence)
        for case in record.cases
        for verdict, sentence in faults(case)
        if (case.id, verdict.value) not in shown
    ]


def _targets_of_kernel(record: Record, kernel: str) -> list[TargetEntry]:
    """Targets on a kernel's benchmarks; the one on its accuracy, which a wrong result decides, first."""
    names = {benchmark.name for benchmark in record.benchmarks if benchmark.kernel == kernel}
    targets = [target for target in record.targets if target.benchmark in names]
    return sorted(targets, key=lambda target: target.metric != "error_ratio")


def _case_findings(record: Record) -> Iterable[Finding]:
    fuzzed = {fuzz.kernel: fuzz.failure for fuzz in record.fuzz if fuzz.failure is not None}
    groups: dict[tuple[Verdict, str, str], list[CaseEntry]] = {}
    for case in record.cases:
        for verdict, sentence in faults(case):
            known = fuzzed.get(case.kernel or "")
            if known is None or known not in sentence:  # else fuzzing has shown it, with a smaller case
                groups.setdefault((verdict, case.benchmark, sentence), []).append(case)
    for (verdict, benchmark, sentence), cases in groups.items():
        ids = {case.id for case in cases}
        targets = [
            target for target in record.targets if ids.intersection(target.cases) and target.benchmark == benchmark
        ]
        decided = [target for target in targets if _has(record.judgements, target, ids, verdict)] or targets
        decided.sort(key=lambda target: target.metric != "error_ratio")
        place = place_of(decided[0]) if decided else Place(_tidy(record.spec_path))
        subject = f"{benchmark} ({cases[0].kernel})"
        yield Finding(
            verdict,
            subject,
            sentence,
            place,
            others=max(0, len(decided) - 1),
            detail=_where(cases),
            replay=_again(record, benchmark),
        )


def _has(judgements: Iterable[JudgementEntry], target: TargetEntry, cases: set[str], verdict: Verdict) -> bool:
    return any(item.target == target.id and item.case in cases and item.verdict == verdict for item in judgements)


def _where(cases: list[CaseEntry]) -> str:
    first = case_row(cases[0].id) or "its only case"
    return first if len(cases) == 1 else f"{first} and {len(cases) - 1} more"


def _target_findings(record: Record) -> Iterable[Finding]:
    for row in rows(record):
        machine = [item for item in row.having(Verdict.ERROR) if item.infrastructure]
        if machine:
            yield _of_row(record, row, machine, machine[0].reason)
        missed = row.having(Verdict.MISSED)
        if missed:
            worst = worst_of(missed)
            reason = f" ({worst.reason})" if worst.reason else ""
            yield _of_row(record, row, missed, f"{row.value_of(worst)} is not {row.bound}{reason}")
        for verdict in (Verdict.INCONCLUSIVE, Verdict.UNMEASURED):
            undecided = row.having(verdict)
            if undecided:
                worst = worst_of(undecided)
                measured = "" if worst.value is None else f"{row.value_of(worst)} against {row.bound}: "
                yield _of_row(record, row, undecided, f"{measured}{worst.reason}")


def _of_row(record: Record, row: Row, found: list[JudgementEntry], sentence: str) -> Finding:
    worst = worst_of(found)
    place = case_row(worst.case)
    if len(row.judgements) > 1:
        alike = len(found) > 1 and len({item.value for item in found}) == 1
        share = "all" if len(found) == len(row.judgements) else f"{len(found)} of"
        count = f"in {share} its {len(row.judgements)} cases"
        place = count if alike else f"{count}, worst {place}"
    verdict = Verdict(worst.verdict)
    again = None if verdict is Verdict.UNMEASURED else _again(record, row.benchmark.name)
    return Finding(
        verdict,
        f"{row.benchmark.name}: {row.text}",
        sentence,
        place_of(row.target),
        row.target.level,
        detail=place or None,
        replay=again,
    )


def _again(record: Record, benchmark: str) -> str:
    command = ["specforge", "check", _tidy(record.spec_path), "--only", benchmark, "--seed", str(record.request.seed)]
    if record.request.until != "judge":
        command += ["--until", record.request.until]
    return shlex.join(command)


def place_of(target: TargetEntry) -> Place:
    """Where the target stands in its YAML file."""
    return Place(_tidy(target.file), target.line, target.column)


def _kernel_place(record: Record, kernel: str) -> Place:
    file = f"kernels/{kernel}/kernel.yaml"
    known = (entry.path for entry in record.inputs if entry.role == "kernel" and entry.path.endswith(file))
    return Place(_tidy(next(known, file)))


def _tidy(path: str) -> str:
    return posixpath.normpath(path)
