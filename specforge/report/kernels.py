"""What every kernel reaches, card by card, from published records: a page of tables with where each comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from specforge.record.measured import EstimateEntry
from specforge.record.model import CaseEntry, MetricEntry, Record
from specforge.report.measured import session_lines
from specforge.report.peers import absences, allowances, some_cases, versions
from specforge.report.rows import NONE, quantity, ran_on

HEADS = (
    "kernel",
    "shape",
    "amortised",
    "95 % interval",
    "isolated",
    "overlapped",
    "of the roofline",
    "of the achievable",
    "best peer",
    "times as fast",
)
_PEER = "amortised_speedup["
_KERNEL = re.compile(r"kernels/([^/]+/[^/]+)/.+")


def render(found: Sequence[tuple[Record, Sequence[str]]]) -> str:
    """A section for each card, in it a table for each record; with a record the names of inputs changed since."""
    cards: dict[str, list[str]] = {}
    for record, changed in found:
        cards.setdefault(card_of(record), []).append(_section(record, changed))
    return "\n".join(f"## {card}\n\n" + "\n".join(sections) for card, sections in cards.items())


def newest(records: Iterable[Record]) -> list[Record]:
    """Of each spec and card the newest that timed anything; of a spec that was never timed, the newest.

    `records` are in the order of publishing.
    """
    found: dict[tuple[str, str | None], Record] = {}
    for record in records:
        found[record.spec, card_of(record) if any(map(is_timed, record.cases)) else None] = record
    timed = {spec for spec, card in found if card is not None}
    return [record for (spec, card), record in found.items() if card is not None or spec not in timed]


def card_of(record: Record) -> str:
    """The card that ran or, where none did, the one that the spec is about."""
    return str((record.environment.card or {}).get("name") or record.device_name or record.device)


def is_timed(case: CaseEntry) -> bool:
    """Whether a case has times, whatever they are worth."""
    return case.measurement is not None and bool(case.measurement.estimates)


def _section(record: Record, changed: Sequence[str]) -> str:
    commit = (record.sources.commit or "unknown")[:12] + (" with changes" if record.sources.dirty else "")
    lines = [f"### {record.spec}", "", f"Record {record.digest[:12]} of {record.created[:10]}, commit {commit}."]
    cases = [case for case in record.cases if case.kernel is not None]
    timed = [case for case in cases if is_timed(case)]
    if not timed:
        return "\n".join([*lines, f"Nothing was timed: it {ran_on(record)}, `--until {record.request.until}`.", ""])
    if changed:
        lines.append(f"**Stale**: these figures are of that commit, and {listed(changed)} changed since.")
    lines += ["", *_table(timed), ""]
    notes = [*_flaws(timed), *_untimed(cases), *session_lines(record.session)]
    notes += [f"{each}." for each in (*absences(record), *allowances(record))]
    notes += [f"Peers: {versions(record)}."] if versions(record) else []
    return "\n".join([*lines, *(f"- {' '.join(note.split())}" for note in notes), *([""] if notes else [])])


def _table(timed: Sequence[CaseEntry]) -> Iterator[str]:
    yield f"| {' | '.join(HEADS)} |"
    yield "|---|---|" + "--:|" * 6 + "---|--:|"
    for case in timed:
        yield f"| {' | '.join(_cells(case))} |"


def _cells(case: CaseEntry) -> Iterator[str]:
    assert case.measurement is not None
    times = case.measurement.estimates if flaw(case) is None else {}
    metrics = case.metrics if times else {}
    amortised = times.get("amortised")
    yield str(case.kernel)
    yield ", ".join(f"{name} {str(value).lower()}" for name, value in case.parameters.items())
    yield quantity(amortised.value, "s") if amortised else NONE
    yield f"{quantity(amortised.low, 's')} .. {quantity(amortised.high, 's')}" if amortised else NONE
    for mode in ("isolated", "overlapped"):
        yield _figure(times.get(mode))
    yield _roofline(metrics.get("roofline_share"), times.get("isolated"), amortised)
    achievable = metrics.get("achievable_bandwidth_share")
    yield quantity(achievable.value, achievable.unit) if achievable else NONE
    peers = {key: ratio for key, ratio in metrics.items() if key.startswith(_PEER)}
    best = min(peers, key=lambda key: peers[key].value, default=None)  # the one that is hardest to beat
    yield best.removeprefix(_PEER).removesuffix("]") if best else NONE
    yield _ratio(peers[best]) if best else NONE


def _figure(found: EstimateEntry | None) -> str:
    if found is None or found.value <= 0:
        return NONE
    return f"{quantity(found.value, 's')} +-{50 * (found.high - found.low) / found.value:.2g} %"


def _roofline(share: MetricEntry | None, isolated: EstimateEntry | None, amortised: EstimateEntry | None) -> str:
    """The datasheet's least time, which a record has as a share of the isolated one, as a share of the amortised."""
    if share is None or isolated is None or amortised is None or amortised.value <= 0:
        return NONE
    return quantity(share.value * isolated.value / amortised.value, share.unit)


def _ratio(found: MetricEntry) -> str:
    known = found.low is not None and found.high is not None
    return f"{found.value:.3g}" + (f" ({found.low:.3g} to {found.high:.3g})" if known else "")


def flaw(case: CaseEntry) -> str | None:
    """Why a case's times are not to be shown; None where they are."""
    reason = case.wrong or case.fault or case.implausible or case.waived
    if reason is None and not case.verified:
        return "its result was not verified"
    rounds = case.measurement.rounds if case.measurement is not None else []
    return reason or ("cold is unproven" if any(one.cold == "unproven" for one in rounds) else None)


def _flaws(timed: Sequence[CaseEntry]) -> Iterator[str]:
    for case in timed:
        reason = flaw(case)
        if reason is not None:
            yield f"No times of {case.id} count: {reason}."


def _untimed(cases: Sequence[CaseEntry]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for case in cases:
        if not is_timed(case):
            known = (case.wrong, case.fault, case.implausible, case.trouble, case.missing.get("amortised_latency"))
            reason = next(filter(None, known), case.missing.get("*", "nobody says why"))
            reasons.setdefault(reason, []).append(case.id)
    for reason, names in reasons.items():
        yield f"Not timed: {some_cases(names)}: {reason}."


def listed(names: Sequence[str]) -> str:
    """Kernels by their own names, whichever of their files it was, everything else by its path; and has or have."""
    listed = [f"`{name}`" for name in dict.fromkeys(_KERNEL.sub(r"\1", name) for name in names)]
    return f"{', '.join(listed[:-1])} and {listed[-1]} have" if len(listed) > 1 else f"{listed[0]} has"
