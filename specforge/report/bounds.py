"""Target lines from a record's figures: what was reached, with room for noise, as bounds that hold it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from specforge.diagnostics import Position, fail, suggest
from specforge.dtypes import DTYPES
from specforge.expressions import Expression, Scalar
from specforge.record.model import CaseEntry, MetricEntry, Record
from specforge.record.provenance import changed_since
from specforge.record.store import read_record
from specforge.report.kernels import flaw
from specforge.report.peers import some_cases
from specforge.report.rows import quantity
from specforge.spec.load import Benchmark, Spec, load_spec
from specforge.spec.metrics import METRICS, Metric
from specforge.spec.sweep import Case
from specforge.spec.target import metric_of
from specforge.units import parse_quantity, round_outward

SHARE = 0.03
"""Of the value: the least room that a bound leaves."""
INTERVALS = 2
"""Widths of the value's interval of 95 %, what processes differ by included: the room, where that is more."""

_TIMES = ("amortised_latency", "overlapped_latency", "latency")
"""Metrics that bounds are made of unless others are asked for, as far as a case has them."""


def bounds(path: Path, names: Sequence[str]) -> str:
    """The target lines of a record as a YAML document, by benchmark, each with how it compares to what stands.

    `names` are metrics; none for all times. Raises SpecForgeError where the record cannot be read, its spec is not
    here or is of another card, or no figure is good for a bound.
    """
    chosen = tuple(_metric(name).name for name in names) or _TIMES
    record = read_record(path)
    where = Position(path)
    if not record.environment.device_matches:
        ran = f"it ran on {record.environment.backend}"
        hint = f"make one on a {record.device_name or record.device}: specforge check {record.spec_path}"
        raise fail("SF801", f"no bounds come from this record: {ran}, not on its spec's card", where, hint=hint)
    if not Path(record.spec_path).is_file():
        hint = "run this from the folder that the record was made in"
        raise fail("SF603", f"the record's spec {record.spec_path} is not here", where, hint=hint)
    spec = load_spec(Path(record.spec_path))
    lines: list[str] = []
    left: dict[str, list[str]] = {}
    for benchmark in spec.benchmarks:
        found = list(_lines(benchmark, record, chosen, asked=bool(names), left=left))
        lines += [f"  {benchmark.name}:", *found] if found else []
    today = {case.id for benchmark in spec.benchmarks for case in benchmark.cases}
    gone = [case.id for case in record.cases if case.kernel is not None and case.id not in today]
    left |= {"no longer a case of the spec": gone} if gone else {}
    notes = [f"{some_cases(list(dict.fromkeys(cases)))}: {reason}" for reason, cases in left.items()]
    if not lines:
        hint = "; ".join(notes) or f"measure it: specforge check {record.spec_path}, without --until, on the card"
        raise fail("SF801", f"no figure of this record is good for a bound ({', '.join(chosen)})", where, hint=hint)
    said = [*_head(path, record, spec), *(f"Left out: {note}." for note in notes)]
    return "\n".join([*(f"# {line}" for line in said), "targets:", *lines]) + "\n"


def _metric(name: str) -> Metric:
    measured = [metric.name for metric in METRICS.values() if metric.mode is not None]
    if name not in METRICS:
        raise fail("SF402", "no such metric", value=name, hint=suggest(name, measured))
    if name not in measured:
        hint = f"these are: {', '.join(measured)}"
        raise fail("SF410", f"{name} is not measured, so no noise needs room: write its bound by hand", hint=hint)
    return METRICS[name]


def _head(path: Path, record: Record, spec: Spec) -> Iterator[str]:
    commit = (record.sources.commit or "unknown")[:12]
    yield f"From {path}: {record.environment.backend}, {record.created[:10]}, commit {commit}."
    yield (
        f"Each bound leaves {SHARE * 100:g} % of room beside the measured value, or {INTERVALS} widths of its interval "
        "of 95 % where that is more, and is rounded outward."
    )
    yield f"For `targets:` of {spec.path}. A bound that stands and holds is not replaced by a looser one."
    changed = changed_since(record, spec.path)
    if changed:
        yield f"Changed since the record was made: {', '.join(changed)}."


def _lines(
    benchmark: Benchmark, record: Record, chosen: Sequence[str], *, asked: bool, left: dict[str, list[str]]
) -> Iterator[str]:
    recorded = {case.id: case for case in record.cases}
    due = chosen if asked else chosen[:1]
    for name in chosen:
        for case in benchmark.cases:
            entry = recorded.get(case.id)
            if entry is None or case.kernel is None:
                continue
            unfit = _unfit(entry, case)
            if unfit is not None:
                left.setdefault(unfit, []).append(case.id)
                continue
            found = {key: value for key, value in entry.metrics.items() if key.partition("[")[0] == name}
            if name in due and not found:
                left.setdefault(f"{name}: {entry.missing.get(name, 'no value')}", []).append(case.id)
            for key, value in found.items():
                bound = _bound(entry, key, value)
                if bound is None:
                    left.setdefault(_noise(entry, key), []).append(case.id)
                else:
                    yield _line(benchmark, case, key, bound)


def _unfit(entry: CaseEntry, case: Case) -> str | None:
    """Why no figure of a recorded case bounds today's case of that name; None where they do."""
    if entry.kernel != (case.kernel and case.kernel.identity) or entry.parameters != case.parameters:
        return "the spec means another kernel or other parameters by it today"
    return flaw(entry)


def _processes(entry: CaseEntry, key: str) -> int:
    metric = metric_of(key)
    kind = "energy" if metric.name in ("energy", "tokens_per_joule") else metric.mode
    found = entry.measurement.estimates.get(str(kind)) if entry.measurement else None
    return found.processes if found else 0


def _noise(entry: CaseEntry, key: str) -> str:
    if _processes(entry, key) < 2:
        return f"one process measured {key}, so nobody knows what processes differ by (timing: {{processes: 5}})"
    return f"the interval of {key} is too wide to leave room beside it"


def _bound(entry: CaseEntry, key: str, value: MetricEntry) -> str | None:
    """The bound as a spec writes it; None where the noise is not known, or leaves nothing above zero."""
    if value.low is None or value.high is None or _processes(entry, key) < 2:
        return None
    metric = metric_of(key)
    room = max(SHARE * value.value, INTERVALS * (value.high - value.low))
    upward = metric.better == "lower"
    bound = value.value + room if upward else value.value - room
    return None if bound <= 0 else round_outward(bound, metric.unit, upward=upward)


def _line(benchmark: Benchmark, case: Case, key: str, bound: str) -> str:
    metric, peer = metric_of(key), key.partition("[")[2].removesuffix("]")
    side = "at_most" if metric.better == "lower" else "at_least"
    parts = [f"metric: {metric.name}", f"{side}: {bound}" if metric.unit == "1" else f'{side}: "{bound}"']
    condition = _condition(benchmark, case)
    parts += [f"peer: {peer}"] if peer else []
    parts += [f'when: "{condition}"'] if condition else []
    return f"    - {{{', '.join(parts)}}}   # {_compared(benchmark, case, key, bound)}"


def _condition(benchmark: Benchmark, case: Case) -> str:
    """What selects this case and no other of its benchmark; empty where it is the only one."""
    varied = [name for name in case.axes if len({other.parameters[name] for other in benchmark.cases}) > 1]
    text = " and ".join(f"{name} == {_literal(case.parameters[name])}" for name in varied)
    if text:
        formula = Expression(text)
        assert [other.id for other in benchmark.cases if formula.truth(other.parameters)] == [case.id]
    return text


def _literal(value: Scalar) -> str:
    return f"'{value}'" if isinstance(value, str) and value not in DTYPES else str(value)


def _compared(benchmark: Benchmark, case: Case, key: str, text: str) -> str:
    """How a bound compares with the tightest that holds for the case now; a goal that is a known miss is none."""
    metric = metric_of(key)
    standing = [
        target
        for target in benchmark.targets
        if target.value_key == key and case.id in target.cases and target.known_miss is None
    ]
    if not standing:
        return "new"
    lower = metric.better == "lower"
    nearest = (min if lower else max)(standing, key=lambda target: target.bound)
    bound = float(text) if metric.unit == "1" else parse_quantity(text, metric.unit)
    if math.isclose(bound, nearest.bound, rel_tol=1e-9):
        verdict = "unchanged:"
    else:
        verdict = "tighter than" if (bound < nearest.bound) == lower else "looser than"
    place = nearest.position
    return f"{verdict} {quantity(nearest.bound, metric.unit)} at {place.file.name}:{place.line}"
