"""What becomes of a record: kept locally, published on request, shown in the asked-for format."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from specforge.check.options import Options
from specforge.diagnostics import Diagnostic, SpecForgeError, fail
from specforge.record.ledger import append
from specforge.record.model import Record
from specforge.record.provenance import check_publishable, check_sources, input_paths, sources
from specforge.record.store import default_path, published_path, read_record, write_record
from specforge.report import github, junit, machine, markdown, text
from specforge.settings import Settings
from specforge.spec.load import Spec

RESULTS = Path("results")


def check_ahead(specs: Sequence[Spec], options: Options, settings: Settings) -> None:
    """Refuse before the work what would be refused after it: one file for several records, uncommitted sources."""
    if options.record is not None and len(specs) > 1:
        raise fail(
            "SF801", "--record names one file, and several specs make several records", value=str(options.record)
        )
    if options.record is not None:
        _check_replaceable(options.record)
    if options.publish:
        found = [
            problem
            for spec in specs
            for problem in check_sources(sources(spec.path, input_paths(spec), settings.commit))
        ]
        if found:
            raise SpecForgeError(*dict.fromkeys(found))


def _check_replaceable(path: Path) -> None:
    """A record may take the place of a record, and of nothing else."""
    if not path.exists():
        return
    try:
        if not path.is_file():
            raise fail("SF605", f"{path} is no regular file", hint="name a new file with --record")
        read_record(path)
    except SpecForgeError as error:
        if error.diagnostics[0].code != "SF601":
            raise
        hint = "name another file with --record, or remove this one"
        raise fail("SF605", f"{path} exists and is no record; it is left alone", hint=hint) from None


def keep(record: Record, options: Options, settings: Settings) -> None:
    """Write the record where it belongs; raises SF604 where it was to be published and may not."""
    write_record(record, options.record or default_path(record, settings.state))
    if options.publish:
        publish(record)


def keep_all(records: Iterable[Record], options: Options, settings: Settings) -> list[Diagnostic]:
    """Write several records, each whatever became of the others; what forbade one is returned."""
    found: list[Diagnostic] = []
    for record in records:
        try:
            keep(record, options, settings)
        except SpecForgeError as error:
            found += error.diagnostics
    return found


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
            print(machine.render_all(records), end="")
        case "md":
            print("\n".join(markdown.render(record) for record in records))
        case "junit":
            print(junit.render(*records))
        case "github":
            print(github.render(*records), end="")
            if settings.step_summary is not None:
                _append(settings.step_summary, "".join(github.step_summary(record) for record in records))
        case _:
            width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))
            for record in records:
                print(text.render(record, width=width, colour=sys.stdout.isatty()))


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as summary:
            summary.write(text)
    except OSError as error:
        raise fail("SF605", f"cannot write the step summary {path}: {error.strerror or error}") from None
