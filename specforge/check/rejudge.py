"""`specforge judge`: a stored record judged again by today's spec, without a GPU."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from specforge.check.against import status_with
from specforge.check.judged import judgement_entry, target_entry
from specforge.check.publish import publish, show
from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail
from specforge.judge.verdict import Evidence, Value, judge, status_of
from specforge.record.model import CaseEntry, Record
from specforge.record.provenance import changed_inputs, input_paths, sources
from specforge.record.store import read_record, seal
from specforge.settings import Settings
from specforge.spec.load import load_spec


def rejudge(path: Path, form: str, settings: Settings, *, publish_it: bool = False) -> int:
    """Check a record's digest and inputs, judge it by the targets of today, print it, and give the exit status.

    Raises SF602 where it was tampered with and SF603 where an input that its evidence depends on has changed.
    """
    record = read_record(path)
    spec_path = Path(record.spec_path)
    if not spec_path.is_file():
        raise fail(
            "SF603",
            f"the record's spec {spec_path} is not here",
            Position(path),
            hint="run this from the folder that the record was made in",
        )
    stale = changed_inputs(record, spec_path)
    if stale:
        raise SpecForgeError(*stale)
    spec = load_spec(spec_path)
    if publish_it:
        _check_sources(record, spec_path, input_paths(spec), settings)
        print(f"specforge: published {publish(record)}", file=sys.stderr)
    names = {benchmark.name for benchmark in record.benchmarks}
    targets = [target for benchmark in spec.benchmarks if benchmark.name in names for target in benchmark.targets]
    evidence = {case.id: _evidence(case) for case in record.cases}
    until = record.request.until
    judgements = judge(targets, evidence, until=until, today=date.today())  # type: ignore[arg-type]  # a stage, by the model
    idle = any(entry.examples == 0 or (entry.held_out and entry.held_out.examples == 0) for entry in record.fuzz)
    idle |= any(waiver.verdict == "untried" for entry in record.fuzz for waiver in entry.waivers)
    status = status_of(judgements, evidence.values(), selected=bool(evidence), undecided=idle)
    status = status_with(status, record.against)
    again = record.model_copy(
        update={
            "digest": "",
            "targets": [target_entry(target) for target in targets],
            "judgements": [judgement_entry(judgement) for judgement in judgements],
            "status": int(status),
        }
    )
    show([seal(again)], form, settings)
    return int(status)


def _evidence(case: CaseEntry) -> Evidence:
    values = {name: Value(entry.value, entry.low, entry.high, entry.doubt) for name, entry in case.metrics.items()}
    return Evidence(
        case.id,
        case.verified,
        case.wrong,
        case.implausible,
        case.fault,
        case.trouble,
        values,
        case.missing,
        case.waived,
    )


def _check_sources(record: Record, spec_path: Path, inputs: list[Path], settings: Settings) -> None:
    """A record made where there was no git history names a commit; here its content can be compared with it."""
    here = sources(spec_path, inputs, settings.commit)
    problems = []
    if here.dirty or here.dirty is None:
        problems.append("this tree is not a clean checkout")
    if record.sources.commit != here.commit:
        problems.append(f"the record was made from commit {record.sources.commit}, this is {here.commit}")
    if record.sources.tool_sha256 != here.tool_sha256:
        problems.append("SpecForge itself differs from the one that made the record")
    if problems:
        hint = "check out the record's commit, with no changes, and publish there"
        raise SpecForgeError(*(Diagnostic("SF604", f"not published: {problem}", hint=hint) for problem in problems))
