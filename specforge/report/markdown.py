"""The report as GitHub-flavoured Markdown: for a step summary, a pull request, an issue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from specforge.judge.verdict import Verdict
from specforge.record.model import Record
from specforge.report import against
from specforge.report.closing import closing
from specforge.report.findings import Finding, failures, place_of
from specforge.report.measured import session_lines, stories, times
from specforge.report.peers import HEADS, absences, allowances, peer_rows, versions
from specforge.report.rows import NONE, Row, cases_line, device_line, ran_on, rows, step_lines, variant_lines
from specforge.report.text import fuzz_sentences

_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|&(?=#?\w+;)")
"""What would be markup: an underscore within a word or a `<` before a space are not."""


def render(record: Record) -> str:
    """The whole report; nothing is shortened."""
    blocks = [
        _header(record),
        _table(rows(record)),
        _peers(record),
        _against(record),
        _times(record),
        _fuzz(record),
        _failures(record),
        _notices(record),
        _excluded(record),
    ]
    return "\n\n".join("\n".join(block) for block in [*blocks, _closing(record)] if block) + "\n"


def _header(record: Record) -> list[str]:
    lines = [f"## {escape(record.spec)}: exit status {record.status}", ""]
    lines.append(f"{escape(device_line(record))}; {escape(ran_on(record))}  ")
    lines.append(escape("; ".join([cases_line(record), *step_lines(record), *variant_lines(record)])))
    return lines


def _table(found: list[Row]) -> list[str]:
    heads = ("benchmark", "target", "worst case", "verdict", "measured", "bound", "margin", "cases")
    if not found:
        return []
    lines = [_line(heads), "|---|---|---|---|--:|---|--:|--:|"]
    for row in found:
        target = f"{row.title} {row.condition}".strip()
        place = row.place.removeprefix("worst ") or NONE
        cells = (
            row.benchmark.name,
            target,
            place,
            row.verdict.value,
            row.measured,
            row.bound,
            row.margin,
            row.coverage,
        )
        decided = row.verdict in (Verdict.MET, Verdict.SKIPPED)
        shown = [escape(cell) for cell in cells]
        lines.append(_line([*shown[:3], shown[3] if decided else f"**{shown[3]}**", *shown[4:]]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _peers(record: Record) -> list[str]:
    found = peer_rows(record)
    said = [*absences(record), *allowances(record)]
    if not found and not said:
        return []
    lines = ["### Peers", "", f"Measured by the same engine in the same run ({escape(versions(record))}).", ""]
    if found:
        lines += [_line(HEADS), "|---|---|--:|--:|--:|--:|", *(_line([escape(cell) for cell in row]) for row in found)]
        lines += [""] if said else []
    return lines + [f"- {escape(sentence)}" for sentence in said]


def _against(record: Record) -> list[str]:
    if record.against is None:
        return []
    lines, found = ["### Before and now", "", escape(against.heading(record.against)), ""], against.change_rows(record)
    if found:
        lines += [_line(against.HEADS), "|---|---|--:|--:|--:|--:|---|"]
        lines += [*(_line([escape(cell) for cell in row]) for row in found), ""]
    return lines + [f"- {escape(said)}" for said in against.sentences(record)]


def _times(record: Record) -> list[str]:
    if record.session is None:
        return []
    heads, cells = times(record)
    lines = ["### Times", ""]
    if cells:
        lines += [_line([escape(head) for head in heads]), "|" + "---|" * len(heads)]
        lines += [_line([escape(cell) for cell in row]) for row in cells]
        lines.append("")
    lines += [f"- {escape(said)}" for said in session_lines(record.session)]
    return lines + [f"- {code(case)}: {escape(told)}" for case, told in stories(record)]


def _fuzz(record: Record) -> list[str]:
    lines = ["### Fuzzing", ""] if record.fuzz else []
    for fuzz in record.fuzz:
        first, covered = fuzz_sentences(fuzz)
        lines.append(f"- {escape(first)}" + (f"; {escape(covered)}" if covered else ""))
        lines += [f"  - waived: {escape(item.sentence)}" for item in fuzz.waivers]
    return lines


def _failures(record: Record) -> list[str]:
    found = failures(record)
    lines = ["### Failures", ""] if found else []
    for finding in found:
        lines += _finding(finding)
    return lines


def _finding(finding: Finding) -> Iterable[str]:
    more = f" and {finding.others} more" if finding.others else ""
    detail = f" ({escape(finding.detail)})" if finding.detail else ""
    yield f"- **{escape(finding.verdict.value)}** {escape(finding.subject)}: {escape(finding.sentence)}{detail}  "
    yield f"  at {code(str(finding.place))}{more}"
    for label, text in (("smallest failing case", finding.row), ("replay", finding.replay)):
        if text:
            yield f"  - {label}: {code(text)}"


def _notices(record: Record) -> list[str]:
    lines: list[str] = []
    for row in rows(record):
        for verdict in (Verdict.UNEXPECTED_MET, Verdict.KNOWN_MISS):
            for reason in dict.fromkeys(item.reason for item in row.having(verdict)):
                subject = escape(f"{row.benchmark.name}: {row.text}: {reason}")
                lines.append(f"- **{escape(verdict.value)}** {subject} at {code(str(place_of(row.target)))}")
    return ["### Notices", "", *lines] if lines else []


def _excluded(record: Record) -> list[str]:
    lines = []
    for benchmark in record.benchmarks:
        for reason in dict.fromkeys(benchmark.excluded.values()):
            cases = [code(case) for case, why in benchmark.excluded.items() if why == reason]
            lines.append(f"- {', '.join(cases)}: {escape(reason)}")
    return ["### Excluded", "", *lines] if lines else []


def _closing(record: Record) -> list[str]:
    lines = ["### What this says", ""]
    for label, sentence in closing(record):
        lines.append(f"- **{escape(label)}**: {escape(sentence)}")
    return lines


def escape(text: str) -> str:
    """Text as Markdown shows it literally, on one line; what stands between two backticks stays code."""
    pieces = re.split(r"`([^`|]+)`", " ".join(text.split()))
    shown = [code(piece) if index % 2 else _SPECIAL.sub(r"\\\g<0>", piece) for index, piece in enumerate(pieces)]
    return "".join(shown)


def code(text: str) -> str:
    """Text as inline code, whatever backticks it holds."""
    plain = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}"
