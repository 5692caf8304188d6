"""Which journal belongs to a run, what must not have changed to go on with it, and when it goes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from specforge.check.backends import Choice
from specforge.check.context import Context
from specforge.check.jobs import timing_of
from specforge.check.journal import Journal, journal_path, open_journal
from specforge.check.options import Options
from specforge.diagnostics import fail
from specforge.record.model import Record
from specforge.record.provenance import input_files, package_versions, tool_sha256
from specforge.settings import Settings
from specforge.spec.load import Benchmark, Spec


def check_resume(options: Options) -> None:
    """Refuse `--resume` where it cannot mean anything; raises SF801."""
    if not options.resume:
        return
    if options.held_out_seed is not None:
        hint = "run it anew: with held-out inputs nothing is written before the last verdict, so nothing can be resumed"
        raise fail("SF801", "--resume and --held-out-seed exclude each other", hint=hint)
    if not options.reaches("measure"):
        given = f"--until {options.until}"
        raise fail("SF801", "--resume goes on with measuring, and this run ends before that", value=given)
    if options.case is not None:
        raise fail("SF801", "--resume goes on with measuring, and --case measures nothing", value=options.case)


def journal_of(spec: Spec, benchmarks: Sequence[Benchmark], choice: Choice, context: Context) -> Journal:
    """The journal of this run, told of on standard error; with held-out inputs one that is never written."""
    options, settings = context.options, context.settings
    if options.held_out_seed is not None:
        return Journal(None)
    assert choice.card is not None
    path = journal_path(settings.state, spec.name, choice.card.uuid)
    journal = open_journal(path, _key(spec, benchmarks, choice, options), resume=options.resume)
    for notice in journal.notices:
        print(f"specforge: {spec.name}: {notice}", file=sys.stderr, flush=True)
    return journal


def finish(record: Record, settings: Settings) -> None:
    """Remove the journal of a run whose record is written; it stays where trouble left cases that could be resumed."""
    card = record.environment.card
    if card is not None and not any(case.trouble for case in record.cases):
        journal_path(settings.state, record.spec, str(card["uuid"])).unlink(missing_ok=True)


def _key(spec: Spec, benchmarks: Sequence[Benchmark], choice: Choice, options: Options) -> dict[str, Any]:
    """All that decides what is measured, by what a user would call it."""
    assert choice.card is not None
    return {
        "the spec's path": str(spec.path),
        **{f"{entry.role} {entry.path}": entry.sha256 for entry in input_files(spec, choice.tunings)},
        "SpecForge itself": tool_sha256(),
        "the installed packages": package_versions(),
        "the card": choice.card.uuid,
        "the driver": choice.card.driver,
        "--seed": options.seed,
        "--only": options.only,
        "--peers": options.peers,
        "--lock-clocks": options.lock_clocks,
        "the timing": {part.name: dataclasses.asdict(timing_of(part, options)) for part in benchmarks},
    }
