"""The report that `check` prints: a screen of plain text."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace

from tabulate import tabulate

from specforge.judge.verdict import Status, Verdict
from specforge.record.model import FuzzEntry, Record
from specforge.report import against
from specforge.report.closing import closing, plural
from specforge.report.findings import Finding, failures, place_of
from specforge.report.measured import session_lines, stories, times
from specforge.report.peers import HEADS, absences, allowances, peer_rows
from specforge.report.rows import (
    TONES,
    Row,
    Tone,
    cases_line,
    device_line,
    ran_on,
    rows,
    shared,
    step_lines,
    variant_lines,
)

SHOWN_FAILURES = 6
"""Blocks below the table; a run with more says how many more, and where they are."""

SHOWN_TIMES = 24
"""Cases in the table of times."""

_ALIGN = {
    "target, worst case": "left",
    "verdict": "left",
    "measured": "right",
    "bound": "left",
    "margin": "right",
    "cases": "right",
}
_HEADERS = tuple(_ALIGN)
_GAP = 2
_INDENT = "  "
_COLOURS: dict[Tone, str] = {"bad": "31;1", "open": "33", "good": "32", "quiet": "2"}


def render(record: Record, *, width: int = 100, colour: bool = False) -> str:
    """The report at a console's width (at least 80 columns), with ANSI colours where asked for."""
    width = max(80, width)
    blocks = [
        _header(record, width),
        _table(rows(record), width, colour),
        _peers(record, width),
        _against(record, width),
        _times(record, width),
        _fuzz(record, width),
        _failures(record, width, colour),
        _notices(record, width, colour),
        _closing(record, width, colour),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _header(record: Record, width: int) -> list[str]:
    first = f"{record.spec} on {device_line(record)}; {ran_on(record)}"
    second = "; ".join([cases_line(record), *step_lines(record), *variant_lines(record)])
    return [*_wrap(first, width), *_wrap(second, width)]


def _table(found: list[Row], width: int, colour: bool) -> list[str]:
    """One row per target; conditions and worst cases that do not fit go onto a line of their own below."""
    if not found:
        return []
    groups = shared(found)
    said = {row.target.id for group in groups for row in group}
    lines = [_Line.of_many(group) for group in groups] + [_Line.of(row) for row in found if row.target.id not in said]
    room = width - sum(
        max(map(len, column)) + _GAP for column in zip(_HEADERS[1:], *(x.cells for x in lines), strict=True)
    )
    lines = [line.within(room) for line in lines]
    table = tabulate(
        [_HEADERS, *([line.title, *line.cells] for line in lines)],
        tablefmt="plain",
        colalign=tuple(_ALIGN.values()),
        disable_numparse=True,
        preserve_whitespace=True,
    )
    header, *texts = table.splitlines()
    start = header.index("verdict")
    shown = [header.rstrip()]
    previous = ""
    for line, text in zip(lines, texts, strict=True):
        if line.section != previous:
            shown.append(line.section)
        previous = line.section
        end = start + len(line.verdict.value)
        shown.append((text[:start] + _paint(text[start:end], TONES[line.verdict], colour) + text[end:]).rstrip())
        shown += _wrap(_INDENT * 2 + line.below, width, _INDENT * 2) if line.below else []
    return shown


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the table, under its section's title."""

    section: str
    title: str
    below: str
    """What is said beside the title where there is room, below it where there is none."""
    verdict: Verdict
    cells: tuple[str, ...]

    @classmethod
    def of(cls, row: Row) -> _Line:
        """One target of one benchmark."""
        section = row.benchmark.name + (f"  {row.benchmark.kernel}" if row.benchmark.kernel else "")
        more = " ".join(filter(None, (row.level, "; ".join(filter(None, (row.condition, row.place))))))
        cells = (row.verdict.value, row.measured, row.bound, row.margin, row.coverage)
        return cls(section, _INDENT + row.subject, more, row.verdict, cells)

    @classmethod
    def of_many(cls, group: list[Row]) -> _Line:
        """A target that many benchmarks have and meet in the same way."""
        one, count = cls.of(group[0]), f"in {len(group)} benchmarks"
        cases, every = sum(len(row.target.cases) for row in group), sum(row.benchmark.cases for row in group)
        when = group[0].target.when
        more = f"{count} when {when}" if when else count
        return replace(one, section="many benchmarks alike", below=more, cells=(*one.cells[:-1], f"{cases}/{every}"))

    def within(self, room: int) -> _Line:
        """With the title taking in what fits beside it."""
        title = f"{self.title}  {self.below}"
        return replace(self, title=title, below="") if self.below and len(title) <= room else self


def _peers(record: Record, width: int) -> list[str]:
    found = peer_rows(record)
    lines = tabulate([HEADS, *found], tablefmt="plain", disable_numparse=True).splitlines() if found else []
    shown = [line.rstrip() for line in lines]
    for sentence in (*absences(record), *allowances(record)):
        shown += _wrap(f"peer  {sentence}", width, _INDENT * 3)
    return shown


def _against(record: Record, width: int) -> list[str]:
    if record.against is None:
        return []
    lines, found = _wrap(against.heading(record.against), width, _INDENT), against.change_rows(record)
    if found:
        align = ("left", "left", "right", "right", "right", "right", "left")
        table = tabulate([against.HEADS, *found], tablefmt="plain", colalign=align, disable_numparse=True)
        lines += [f"{_INDENT}{line}".rstrip() for line in table.splitlines()]
    return lines + [line for said in against.sentences(record) for line in _wrap(_INDENT + said, width, _INDENT * 2)]


def _times(record: Record, width: int) -> list[str]:
    """What each case took in each mode, with half its interval, and what the session measured of the card itself."""
    if record.session is None:
        return []
    heads, cells = times(record)
    table = tabulate([heads, *cells[:SHOWN_TIMES]], tablefmt="plain", disable_numparse=True)
    lines = [line.rstrip() for line in table.splitlines()] if cells else []
    if len(cells) > SHOWN_TIMES:
        lines.append(f"and {plural(len(cells) - SHOWN_TIMES, 'case')} more, which --format md shows")
    lines += [line for said in session_lines(record.session) for line in _wrap(f"card    {said}", width, _INDENT * 4)]
    for case, told in stories(record):
        lines += _wrap(f"note    {case}: {told}", width, _INDENT * 4)
    return lines


def _fuzz(record: Record, width: int) -> list[str]:
    lines: list[str] = []
    for fuzz in record.fuzz:
        first, covered = fuzz_sentences(fuzz)
        lines += _wrap(f"fuzzed  {first}", width, _INDENT * 4)
        if covered:
            lines += _wrap(f"{_INDENT * 4}{covered}", width, _INDENT * 4)
        lines += [line for item in fuzz.waivers for line in _wrap(f"waived  {item.sentence}", width, _INDENT * 4)]
    return lines


def fuzz_sentences(fuzz: FuzzEntry) -> tuple[str, str]:
    """What fuzzing one kernel did, and which part of each axis it covered."""
    parts = [plural(fuzz.examples, "example"), plural(fuzz.variants, "variant"), f"{fuzz.seconds:.1f} s"]
    if fuzz.repeated:
        parts.append(f"{fuzz.repeated:,} of them again under another schedule and with fresh values")
    if fuzz.held_out is not None:
        parts.append(f"{plural(fuzz.held_out.examples, 'held-out example')}")
    if fuzz.out_of_time:
        parts.append("out of time before all that was asked for")
    if fuzz.examples:
        worst = "infinite" if fuzz.worst_ratio == "inf" else f"{float(fuzz.worst_ratio):.3g} x tolerance"
        parts.append(f"worst {worst}")
    if fuzz.searched_for is not None:
        parts.append(f"in the turn of {fuzz.searched_for}, whose search this spec shares")
    return f"{fuzz.kernel} ({fuzz.backend}): {', '.join(parts)}", _covered(fuzz.covered)


def _covered(axes: dict[str, str]) -> str:
    """What was reached of each domain that was not covered from end to end."""
    parts = []
    for axis, text in axes.items():
        reached, _, domain = text.partition(" of ")
        if reached not in ("all", domain):
            parts.append(f"{axis} {text}")
    rest = ["every other domain from end to end"] if 0 < len(parts) < len(axes) else []
    return "covered: " + ("; ".join(parts + rest) or "every domain from end to end") if axes else ""


def _failures(record: Record, width: int, colour: bool) -> list[str]:
    found = failures(record)
    lines = [line for finding in found[:SHOWN_FAILURES] for line in _finding(finding, width, colour)]
    if len(found) > SHOWN_FAILURES:
        lines += _wrap(f"and {len(found) - SHOWN_FAILURES} more, which --format md and --format json show", width)
    return lines


def _finding(finding: Finding, width: int, colour: bool) -> list[str]:
    more = f" (and {finding.others} more {'target' if finding.others == 1 else 'targets'})" if finding.others else ""
    lines = [f"{_paint(finding.verdict.value, TONES[finding.verdict], colour)}  {finding.subject}"]
    detail = f"{finding.sentence}; {finding.detail}" if finding.detail else finding.sentence
    lines += _wrap(f"{_INDENT * 2}{detail}", width, _INDENT * 2)
    lines.append(f"{_INDENT * 2}at {finding.place}{more}")
    if finding.row:
        lines.append(f"{_INDENT * 2}smallest failing case: {finding.row}")  # never broken: it is there to be copied
    if finding.replay:
        lines.append(f"{_INDENT * 2}replay: {finding.replay}")
    return lines


def _notices(record: Record, width: int, colour: bool) -> list[str]:
    lines: list[str] = []
    for row in rows(record):
        for verdict in (Verdict.UNEXPECTED_MET, Verdict.KNOWN_MISS):
            reasons = list(dict.fromkeys(item.reason for item in row.judgements if item.verdict == verdict))
            for reason in reasons:
                text = f"{verdict.value}  {row.benchmark.name}: {row.text}: {reason}, at {place_of(row.target)}"
                first, *rest = _wrap(text, width, _INDENT * 2)
                lines += [_paint(verdict.value, TONES[verdict], colour) + first.removeprefix(verdict.value), *rest]
    return lines


def _closing(record: Record, width: int, colour: bool) -> list[str]:
    sentences = closing(record)
    indent = max(len(label) for label, _ in sentences) + _GAP
    lines: list[str] = []
    previous = ""
    for label, sentence in sentences:
        shown = label if label != previous else ""
        previous = label
        lines += _wrap(f"{shown:<{indent}}{sentence}", width, " " * indent)
    tone: Tone = (
        "good"
        if record.status == Status.MET
        else "open"
        if record.status in (Status.UNDECIDED, Status.EMPTY)
        else "bad"
    )
    last = f"exit status {record.status}"
    return [_paint(last, tone, colour) + line.removeprefix(last) if line.startswith(last) else line for line in lines]


def _wrap(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]


def _paint(text: str, tone: Tone, colour: bool) -> str:
    return f"\x1b[{_COLOURS[tone]}m{text}\x1b[0m" if colour else text
