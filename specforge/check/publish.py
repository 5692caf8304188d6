"""What becomes of a record: kept locally, published on request, shown in the asked-for format."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from specforge.check.options import Options
from specforge.diagnostics import SpecForgeError, fail
from specforge.record.ledger import append
from specforge.record.model import Record
from specforge.record.provenance import check_publishable
from specforge.record.store import default_path, published_path, write_record
from specforge.report import github, junit, machine, markdown, text
from specforge.settings import Settings

RESULTS = Path("results")


def keep(record: Record, options: Options, settings: Settings, *, alone: bool) -> None:
    """Write the record where it belongs; raises SF801 where `--record` names one file for several."""
    if options.record is not None and not alone:
        raise fail(
            "SF801", "--record names one file, and several specs make several records", value=str(options.record)
        )
    write_record(record, options.record or default_path(record, settings.state))
    if options.publish:
        publish(record)


def publish(record: Record) -> Path:
    """Put a record under results/ and into the ledger; raises SF604 where the sources forbid it."""
    problems = check_publishable(record)
    if problems:
        raise SpecForgeError(*problems)
    path = published_path(record, RESULTS)
    write_record(record, path)
    append(RESULTS / "ledger.jsonl", record, path)
    return path


def show(records: Sequence[Record], form: str, settings: Settings) -> None:
    """Print every record in one format; `github` also writes the step summary where there is one."""
    match form:
        case "json":
            print("\n".join(machine.render(record) for record in records))
        case "md":
            print("\n".join(markdown.render(record) for record in records))
        case "junit":
            print(junit.render(*records))
        case "github":
            print(github.render(*records), end="")
            if settings.step_summary is not None:
                with settings.step_summary.open("a", encoding="utf-8") as summary:
                    summary.writelines(github.step_summary(record) for record in records)
        case _:
            width = max(80, min(shutil.get_terminal_size((100, 24)).columns, 120))
            for record in records:
                print(text.render(record, width=width, colour=sys.stdout.isatty()))
