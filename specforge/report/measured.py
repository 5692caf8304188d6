"""The figures of a record: every case that was timed, as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator

from specforge.record.model import CaseEntry, Record
from specforge.report.rows import case_row, quantity

_HEAD = "| benchmark | case | median | 95 % interval | bandwidth | of the datasheet's |\n|---|---|--:|--:|--:|--:|"
NONE = "-"


def render(record: Record) -> str:
    """One row per case with samples, in the record's order, under a line that says where they come from."""
    timed = [case for case in record.cases if case.measurement and case.measurement["samples"]]
    if not timed:
        return f"No case of {record.spec} was timed.\n"
    environment = record.environment
    commit = (record.sources.commit or "unknown")[:12]
    made = f"record {record.digest[:12]} of {record.created[:10]}, commit {commit}"
    source = f"Isolated time of one launch group, cold, on {environment.backend}; {made}."
    return "\n".join([source, "", _HEAD, *(_row(case) for case in timed)]) + "\n"


def _row(case: CaseEntry) -> str:
    return "| " + " | ".join(_cells(case)) + " |"


def _cells(case: CaseEntry) -> Iterator[str]:
    assert case.measurement is not None
    yield case.benchmark
    yield case_row(case.id)
    yield quantity(case.measurement["median"], "s")
    yield f"{quantity(case.measurement['low'], 's')} .. {quantity(case.measurement['high'], 's')}"
    for name in ("bandwidth", "peak_bandwidth_share"):
        yield quantity(case.metrics[name].value, case.metrics[name].unit) if name in case.metrics else NONE
