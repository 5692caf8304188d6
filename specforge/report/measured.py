"""The figures of a record: every case that was timed, as a Markdown table, and what the session measured once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specforge.record.measured import EstimateEntry, MeasurementEntry, SessionEntry
from specforge.record.model import CaseEntry, Record
from specforge.report.rows import NONE, case_row, quantity
from specforge.spec.timing import MODES

_TITLES = {"isolated": "median", "amortised": "amortised", "overlapped": "overlapped"}
_SHARES = {"peak_bandwidth_share": "of the datasheet's", "achievable_bandwidth_share": "of the achievable"}


def render(record: Record) -> str:
    """One row per case with samples, in the record's order, under a line that says where they come from."""
    timed = [(case, case.measurement) for case in record.cases if case.measurement and case.measurement.estimates]
    if not timed:
        return f"No case of {record.spec} was timed.\n"
    environment = record.environment
    commit = (record.sources.commit or "unknown")[:12]
    made = f"record {record.digest[:12]} of {record.created[:10]}, commit {commit}"
    modes = [mode for mode in MODES if any(mode in found.estimates for _, found in timed)]
    processes = [estimate.processes for _, found in timed for estimate in found.estimates.values()]
    least, most = min(processes), max(processes)
    several = f", {least} to {most} processes" if least < most else f", {most} processes" if most > 1 else ""
    hot = dict.fromkeys(case.benchmark for case, found in timed if {one.cold for one in found.rounds} == {"hot"})
    cold = "cold" + (f" (but {', '.join(hot)}, which read nothing cold)" if hot else "")
    if modes == ["isolated"]:
        what = "Isolated time of one launch group"
    else:
        what = f"Time of one launch group: isolated (median){''.join(f', {mode}' for mode in modes[1:])}"
    lines = [f"{what}, {cold}, on {environment.backend}{several}; {made}.", *session_lines(record.session), ""]
    shares = ["peak_bandwidth_share", *(["achievable_bandwidth_share"] if "amortised" in modes else [])]
    heads = [head for mode in modes for head in (_TITLES[mode], "95 % interval")]
    lines.append(
        "| " + " | ".join(["benchmark", "case", *heads, "bandwidth", *(_SHARES[name] for name in shares)]) + " |"
    )
    lines.append("|---|---|" + "--:|" * (len(heads) + 1 + len(shares)))
    lines += ["| " + " | ".join(_cells(case, found, modes, shares)) + " |" for case, found in timed]
    return "\n".join(lines) + "\n"


def _cells(case: CaseEntry, found: MeasurementEntry, modes: Sequence[str], shares: Sequence[str]) -> Iterator[str]:
    yield case.benchmark
    yield case_row(case.id)
    for mode in modes:
        estimate = found.estimates.get(mode)
        yield quantity(estimate.value, "s") if estimate else NONE
        yield f"{quantity(estimate.low, 's')} .. {quantity(estimate.high, 's')}" if estimate else NONE
    for name in ("bandwidth", *shares):
        yield quantity(case.metrics[name].value, case.metrics[name].unit) if name in case.metrics else NONE


def times(record: Record) -> tuple[list[str], list[list[str]]]:
    """Heads and a row for each timed case: per mode the time with half its interval as a share, and joules."""
    timed = [(case, case.measurement.estimates) for case in record.cases if case.measurement]
    kinds = [kind for kind in (*MODES, "energy") if any(kind in found for _, found in timed)]
    cells = [
        [
            case.id,
            *(_figure(found[kind], "J" if kind == "energy" else "s") if kind in found else NONE for kind in kinds),
        ]
        for case, found in timed
        if found
    ]
    return ["case", *kinds], cells


def _figure(found: EstimateEntry, unit: str) -> str:
    half = (found.high - found.low) / 2 / found.value if found.value > 0 else 0.0
    return f"{quantity(found.value, unit)} +-{100 * half:.2g} %"


def session_lines(session: SessionEntry | None) -> list[str]:
    """What the instrument costs and what the card reaches, in sentences; empty where nobody measured it."""
    if session is None:
        return []
    lines = []
    if session.event_overhead is not None:
        null = ", ".join(f"{quantity(time, 's')} {mode}" for mode, time in session.null_kernel.items())
        empty = quantity(session.event_overhead, "s")
        lines.append(f"Two events with nothing between them read {empty}; an empty kernel {null}.")
    if session.rates:
        units = {"read": "B/s", "copy": "B/s"}
        said = [f"{name} {quantity(rate, units.get(name, 'FLOPS'))}" for name, rate in session.rates.items()]
        lines.append(f"The card reaches: {', '.join(said)}.")
    lines += [f"Not known: {name}: {reason}." for name, reason in session.missing.items()]
    if session.clocks is not None:
        lines.append(f"Clocks: {session.clocks}.")
    return lines


def stories(record: Record) -> list[tuple[str, str]]:
    """Cases whose modes tell different stories, each with its sentence."""
    return [(case.id, told) for case in record.cases if case.measurement for told in case.measurement.telling]
