"""`check --against RECORD`: every cell that was timed, against the same cell of an earlier record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from specforge.backend.clocks import AS_FOUND
from specforge.check.options import Options
from specforge.diagnostics import Diagnostic, SpecForgeError, fail
from specforge.judge.verdict import Status, first_of
from specforge.measure.compare import compare
from specforge.record.model import AgainstEntry, CaseEntry, ChangeEntry, Record
from specforge.record.rounds import modes_of, rounds_of
from specforge.record.store import read_record, seal
from specforge.spec.load import Spec

_HINT = "make the earlier record again under the same conditions, and compare with that"


def read_baseline(specs: Sequence[Spec], options: Options) -> Record | None:
    """The record to compare with, refused ahead of the work where it is clear already; None where none was asked for.

    Raises SF801 where this run times nothing or is of several specs, SF601 and SF602 where the record cannot be read,
    SF608 where it has no times or was made with another seed.
    """
    if options.against is None:
        return None
    path = str(options.against)
    if not options.reaches("measure") or options.case is not None:
        raise fail("SF801", "--against compares times, and this run takes none", value=path)
    if len(specs) > 1:
        raise fail("SF801", "--against names one record, and several specs make several records", value=path)
    baseline = read_record(options.against)
    problems = [] if any(modes_of(case) for case in baseline.cases) else ["it has no times"]
    if baseline.request.seed != options.seed:
        problems.append(f"its inputs were drawn with seed {baseline.request.seed}, not {options.seed}")
    if problems:
        raise _refused(options.against, problems)
    return baseline


def compared(record: Record, baseline: Record, options: Options) -> tuple[Record, tuple[Diagnostic, ...]]:
    """The record with the comparison in it and in its status, sealed anew; or as it is, with reasons against one."""
    assert options.against is not None
    try:
        entry = compare_records(baseline, record, options.tolerance, options.against)
    except SpecForgeError as refused:
        return record, refused.diagnostics
    status = int(status_with(Status(record.status), entry))
    return seal(record.model_copy(update={"digest": "", "against": entry, "status": status})), ()


def status_with(status: Status, against: AgainstEntry | None) -> Status:
    """The exit status of a run with what a comparison adds: a slower cell counts as a missed target does."""
    slower = against is not None and any(cell.verdict == "slower" for cell in against.cells)
    return first_of((status, Status.MISSED)) if slower else status


def compare_records(before: Record, after: Record, tolerance: float, path: Path) -> AgainstEntry:
    """Compare every cell that both records have; raises SF608 with every reason where they may not be compared."""
    problems = list(_obstacles(before, after))
    if problems:
        raise _refused(path, problems)
    old = {case.id: case for case in before.cases}
    cells: list[ChangeEntry] = []
    left_out: dict[str, str] = {}
    for case in after.cases:
        if case.id not in old or case.kernel is None:
            if case.kernel is not None:
                left_out[case.id] = "the earlier record does not have it"
            continue
        reason = _case_obstacle(old[case.id], case)
        found = [] if reason is not None else list(_changes(old[case.id], case, tolerance))
        cells += found
        if not found:
            left_out[case.id] = reason or "no mode was timed on both sides"
    if not cells:
        raise _refused(path, [f"{case}: {reason}" for case, reason in left_out.items()] or ["no case in common"])
    return AgainstEntry(
        path=str(path),
        digest=before.digest,
        created=before.created,
        commit=before.sources.commit,
        tolerance=tolerance,
        cells=cells,
        left_out=left_out,
        warnings=list(_warnings(before, after, cells)),
    )


def _changes(before: CaseEntry, after: CaseEntry, tolerance: float) -> Iterator[ChangeEntry]:
    for mode in modes_of(after):
        old, new = rounds_of(before, mode), rounds_of(after, mode)
        found = compare(old, new, tolerance) if old else None
        if found is not None:
            yield ChangeEntry(
                case=after.id,
                mode=mode,
                before=found.before,
                after=found.after,
                ratio=found.ratio,
                low=found.low,
                high=found.high,
                verdict=found.verdict,
                processes=[len(old), len(new)],
            )


def _obstacles(before: Record, after: Record) -> Iterator[str]:
    """Why two records may not be compared at all."""
    old, new = before.environment.card, after.environment.card
    if old is None or new is None:
        side = "the earlier record" if old is None else "this run"
        yield f"{side} took no times on a card"
        return
    for key, name in (
        ("name", "card"),
        ("memory_bytes", "memory"),
        ("mig", "MIG"),
        ("ecc", "ECC"),
        ("power_limit", "power limit"),
    ):
        if old.get(key) != new.get(key):
            yield f"another {name}: {old.get(key)}, now {new.get(key)}"
    if _clocks(before) != _clocks(after):
        yield f"another clocks policy: {_clocks(before)}, now {_clocks(after)}"
    if before.request.seed != after.request.seed:
        yield f"inputs drawn with another seed: {before.request.seed}, now {after.request.seed}"


def _case_obstacle(before: CaseEntry, after: CaseEntry) -> str | None:
    """Why one case may not be compared; None where it may."""
    for when, case in (("earlier", before), ("now", after)):
        if not case.verified or case.wrong or case.implausible or case.fault:
            return f"its result was not verified ({when})" if when == "earlier" else "its result is not verified now"
        if not modes_of(case):
            return "it was not timed earlier" if when == "earlier" else "it was not timed now"
    if before.kernel != after.kernel:
        return f"another kernel: {before.kernel}, now {after.kernel}"
    if before.parameters != after.parameters:
        return "other parameters under the same name"
    old, new = _residency(before), _residency(after)
    if old != new and old is not None and new is not None:
        return f"another residency: {old[1]} bytes cold ({old[0]}), now {new[1]} ({new[0]})"
    return None


def _warnings(before: Record, after: Record, cells: Sequence[ChangeEntry]) -> Iterator[str]:
    """What a reader should know of a comparison that is made all the same."""
    old, new = before.environment, after.environment
    first, second = old.card or {}, new.card or {}
    if first.get("uuid") != second.get("uuid"):
        yield "another card of the same model: cards of one model differ by about 1 %, which is in the ratios"
    for name, was, now in (
        ("driver", first.get("driver"), second.get("driver")),
        ("VBIOS", first.get("vbios"), second.get("vbios")),
        ("compiler", old.compiler, new.compiler),
        ("SpecForge", before.sources.tool_version, after.sources.tool_version),
    ):
        if was != now:
            yield f"another {name}: {was}, now {now}"
    changed = _documents(before) ^ _documents(after)
    names = sorted({path for path, _ in changed})
    if names:
        yield f"{', '.join(names)} changed: see that inputs are still drawn alike"
    if before.session is None and after.session is not None:
        yield "the earlier record's times were taken by an older version of the engine"
    timed = {(cell.case, cell.mode) for cell in cells}
    if _precisions(before, timed) != _precisions(after, timed):
        yield "the two were measured to different precisions, which is in the intervals"
    if any(cell.processes == [1, 1] for cell in cells):
        yield "one process on either side: what processes differ by is assumed to be 0.5 %"


def _documents(record: Record) -> set[tuple[str, str]]:
    return {(entry.path, entry.sha256) for entry in record.inputs if entry.role == "kernel"}


def _clocks(record: Record) -> str:
    return (record.session and record.session.clocks) or AS_FOUND


def _residency(case: CaseEntry) -> tuple[str, int] | None:
    """How cold the tensors were and how large, from the first process."""
    rounds = case.measurement.rounds if case.measurement is not None else []
    return (rounds[0].cold, rounds[0].cold_bytes) if rounds else None


def _precisions(record: Record, timed: Set[tuple[str, str]]) -> set[float]:
    return {
        series.stop.asked
        for case in record.cases
        for process in (case.measurement.rounds if case.measurement is not None else [])
        for mode, series in process.series.items()
        if (case.id, mode) in timed
    }


def _refused(path: Path, problems: Sequence[str]) -> SpecForgeError:
    return SpecForgeError(
        *(Diagnostic("SF608", f"{path} may not be compared with: {problem}", hint=_HINT) for problem in problems[:10])
    )
