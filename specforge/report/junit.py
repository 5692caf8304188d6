"""The report as JUnit XML: one test case per judgement, one per fuzzed kernel.

What CI shows as passed is what was decided well and nothing else: `met` and `unexpected_met`. What counts towards the
exit status fails: `missed`, `unmeasured` and `inconclusive` of required targets as failures whose type is the verdict,
trouble with the kernel or the machine as errors. The rest is skipped with its reason: not requested, known misses, and
whatever a target of level `warn` or `record` did not meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from specforge.judge.verdict import STATUS_MEANINGS, Status, Verdict
from specforge.record.model import JudgementEntry, Record, TargetEntry
from specforge.report.against import change_sentence
from specforge.report.closing import closing
from specforge.report.findings import Finding, fuzz_finding, place_of, silent_faults
from specforge.report.measured import session_lines
from specforge.report.rows import case_row, ran_on, rows

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""

Outcome = Literal["passed", "failure", "error", "skipped"]


@dataclass(frozen=True, slots=True)
class Test:
    """One test case; `kind` and `message` say why it did not pass."""

    __test__ = False  # pytest: this is no test

    group: str
    name: str
    seconds: float
    outcome: Outcome
    kind: str = ""
    message: str = ""
    text: str = ""


def render(*records: Record) -> str:
    """One document with a suite per record, as the schemas of Jenkins and of Ant's JUnit task want it."""
    root = ElementTree.Element("testsuites")
    for number, record in enumerate(records):
        _suite(root, number, record)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, number: int, record: Record) -> None:
    tests = [*_judged(record), *_fuzzed(record), *_silent(record), *_changed(record), *_run(record)]
    counts = {outcome: sum(test.outcome == outcome for test in tests) for outcome in ("failure", "error", "skipped")}
    attributes = {
        "id": str(number),
        "package": "specforge",
        "name": record.spec,
        "timestamp": record.created[:19],
        "hostname": "localhost",
        "tests": str(len(tests)),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "skipped": str(counts["skipped"]),
        "time": f"{record.seconds:.3f}",
    }
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _facts(record):
        ElementTree.SubElement(properties, "property", {"name": name, "value": _legal(value)})
    for test in tests:
        _add(suite, test)
    ElementTree.SubElement(suite, "system-out").text = _legal(
        "\n".join(f"{label}: {text}" for label, text in closing(record))
    )
    ElementTree.SubElement(suite, "system-err")


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    yield "device", record.device
    yield "architecture", record.architecture
    yield "backend", ran_on(record)
    yield "commit", record.sources.commit or "unknown"
    yield "record", record.digest
    yield "exit status", str(record.status)
    for number, said in enumerate(session_lines(record.session), start=1):
        yield f"card {number}", said


def _add(suite: ElementTree.Element, test: Test) -> None:
    attributes = {"classname": _legal(test.group), "name": _legal(test.name), "time": f"{test.seconds:.3f}"}
    element = ElementTree.SubElement(suite, "testcase", attributes)
    if test.outcome == "skipped":
        ElementTree.SubElement(element, "skipped", {"message": _legal(f"{test.kind}: {test.message}")})
    elif test.outcome != "passed":
        child = ElementTree.SubElement(element, test.outcome, {"type": test.kind, "message": _legal(test.message)})
        child.text = _legal(test.text)


def _judged(record: Record) -> Iterator[Test]:
    for row in rows(record):
        for judgement in row.judgements:
            name = f"{row.text} [{case_row(judgement.case)}]".removesuffix(" []")
            outcome = _outcome(row.target, judgement)
            message = judgement.reason or (
                f"measured {row.value_of(judgement)}, bound {row.bound}" if outcome != "passed" else ""
            )
            text = f"{message}\nmeasured: {row.value_of(judgement)}\nbound: {row.bound}\nat {place_of(row.target)}"
            yield Test(f"{record.spec}.{row.benchmark.name}", name, 0.0, outcome, judgement.verdict, message, text)


def _outcome(target: TargetEntry, judgement: JudgementEntry) -> Outcome:
    match Verdict(judgement.verdict):
        case Verdict.MET | Verdict.UNEXPECTED_MET:
            return "passed"
        case Verdict.WRONG | Verdict.IMPLAUSIBLE:
            return "failure"
        case Verdict.ERROR:
            return "skipped" if judgement.infrastructure and target.level != "required" else "error"
        case Verdict.MISSED | Verdict.UNMEASURED | Verdict.INCONCLUSIVE:
            return "failure" if target.level == "required" else "skipped"
        case Verdict.SKIPPED | Verdict.KNOWN_MISS:
            return "skipped"


def _fuzzed(record: Record) -> Iterator[Test]:
    group = f"{record.spec}.fuzz"
    for fuzz in record.fuzz:
        name = f"{fuzz.kernel} on {fuzz.backend}"
        finding = fuzz_finding(record, fuzz)
        if finding is None:
            yield Test(group, name, fuzz.seconds, "passed")
        else:
            outcome = _fault_outcome(finding.verdict) if finding.level == "required" else "skipped"
            yield Test(group, name, fuzz.seconds, outcome, finding.verdict, finding.sentence, _text(finding))


def _silent(record: Record) -> Iterator[Test]:
    """Cases that went wrong though no target's verdict says so."""
    for case, verdict, sentence in silent_faults(record):
        group, text = f"{record.spec}.{case.benchmark}", f"{sentence}\nat {record.spec_path}"
        yield Test(group, f"{case.id} {verdict}", 0.0, _fault_outcome(verdict), verdict, sentence, text)


def _changed(record: Record) -> Iterator[Test]:
    """Every cell that was compared with an earlier record; what is undecided is skipped, as it does not count."""
    outcomes: dict[str, Outcome] = {"slower": "failure", "undecided": "skipped"}
    for cell in record.against.cells if record.against is not None else []:
        outcome = outcomes.get(cell.verdict, "passed")
        said = change_sentence(cell)
        yield Test(f"{record.spec}.against", f"{cell.case} {cell.mode}", 0.0, outcome, cell.verdict, said, said)


def _fault_outcome(verdict: Verdict) -> Outcome:
    return "error" if verdict is Verdict.ERROR else "failure"


def _run(record: Record) -> Iterator[Test]:
    """A run that decided nothing leaves no green document behind."""
    if record.status in (Status.EMPTY, Status.INVALID):
        reason = STATUS_MEANINGS[Status(record.status)]
        yield Test(f"{record.spec}.run", f"exit status {record.status}", 0.0, "error", "run", reason, reason)


def _text(finding: Finding) -> str:
    lines = [finding.sentence, f"at {finding.place}"]
    lines += [
        f"{label}: {text}"
        for label, text in (("smallest failing case", finding.row), ("replay", finding.replay))
        if text
    ]
    return "\n".join(lines)


def _legal(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
