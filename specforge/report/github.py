"""GitHub Actions: annotations on the YAML lines that were not met, and the table for the step's summary."""

from __future__ import annotations

from collections.abc import Iterable

from specforge.judge.verdict import Verdict
from specforge.record.model import Record
from specforge.report import markdown
from specforge.report.against import change_sentence, slower
from specforge.report.findings import Finding, Place, findings, place_of
from specforge.report.rows import rows

LIMIT = 10
"""GitHub shows this many errors and this many warnings of a step, and drops the rest without a word."""


def render(*records: Record) -> str:
    """Workflow commands for all records of one step, worst first: errors, warnings, and one notice that sums up.

    What counts towards the exit status is an error; what a target of level `warn` did not meet, and what asks to be
    promoted (`unexpected_met`), is a warning.
    """
    found = findings(*records)
    warned = [finding for finding in found if finding.level == "warn" and finding.verdict is not Verdict.UNMEASURED]
    errors = [_command("error", finding) for finding in found if finding.level == "required"]
    errors += [
        f"::error file={escape_property(record.spec_path)},"
        f"title={escape_property(f'slower than before: {cell.case}')}::{escape_message(change_sentence(cell))}"
        for record in records
        for cell in slower(record)
    ]
    warnings = [_command("warning", finding) for finding in (*warned, *_promotions(records))]
    summary = ", ".join(f"{record.spec} ended with exit status {record.status}" for record in records)
    for name, lines in (("errors", errors), ("warnings", warnings)):
        if len(lines) > LIMIT:
            summary += f"; {len(lines) - LIMIT} more {name} are not shown here"
    notice = f"::notice title=specforge::{escape_message(summary)}; the step's summary has the whole table"
    return "\n".join([*errors[:LIMIT], *warnings[:LIMIT], notice]) + "\n"


def step_summary(record: Record) -> str:
    """Markdown for the file that GITHUB_STEP_SUMMARY names."""
    return markdown.render(record)


def _promotions(records: Iterable[Record]) -> Iterable[Finding]:
    for record in records:
        for row in rows(record):
            met = row.having(Verdict.UNEXPECTED_MET)
            if met:
                subject = f"{row.benchmark.name}: {row.text}"
                yield Finding(Verdict.UNEXPECTED_MET, subject, met[0].reason, place_of(row.target))


def _command(level: str, finding: Finding) -> str:
    title = f"{finding.verdict.value}: {finding.subject}"
    lines = [finding.sentence + (f" ({finding.detail})" if finding.detail else "")]
    if finding.row:
        lines.append(f"smallest failing case: {finding.row}")
    if finding.replay:
        lines.append(f"replay: {finding.replay}")
    where = ",".join([*_position(finding.place), f"title={escape_property(title)}"])
    return f"::{level} {where}::{escape_message(chr(10).join(lines))}"


def _position(place: Place) -> Iterable[str]:
    yield f"file={escape_property(place.file)}"
    if place.line is not None:
        yield f"line={place.line}"
    if place.column is not None:
        yield f"col={place.column}"


def escape_message(text: str) -> str:
    """A message as a workflow command carries it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """A property's value as a workflow command carries it."""
    return escape_message(text).replace(":", "%3A").replace(",", "%2C")
