"""What a comparison with an earlier record shows, as rows and sentences for every form of report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from specforge.measure.compare import ChangeVerdict
from specforge.record.model import AgainstEntry, ChangeEntry, Record
from specforge.report.rows import quantity

HEADS = ("case", "mode", "before", "now", "change", "95 % interval", "verdict")
ORDER: tuple[ChangeVerdict, ...] = ("slower", "undecided", "faster", "same")


def heading(against: AgainstEntry) -> str:
    """Which record it was compared with."""
    commit = f", commit {against.commit[:12]}" if against.commit else ""
    return f"against {against.path} (record {against.digest[:12]} of {against.created[:10]}{commit})"


def change_rows(record: Record) -> list[tuple[str, ...]]:
    """A row for every cell that is not the same, worst first."""
    cells = record.against.cells if record.against is not None else []
    shown = sorted((cell for cell in cells if cell.verdict != "same"), key=lambda cell: ORDER.index(cell.verdict))
    return [
        (
            cell.case,
            cell.mode,
            quantity(cell.before, "s"),
            quantity(cell.after, "s"),
            percent(cell.ratio),
            f"{percent(cell.low)} .. {percent(cell.high)}",
            cell.verdict,
        )
        for cell in shown
    ]


def sentences(record: Record) -> Iterator[str]:
    """How many cells are what, what was left out and why, and what to know of the comparison."""
    against = record.against
    if against is None:
        return
    counts = Counter(cell.verdict for cell in against.cells)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ORDER if counts[verdict])
    yield f"{said}; a change of less than {against.tolerance * 100:g} % does not matter"
    reasons: dict[str, list[str]] = {}
    for case, reason in against.left_out.items():
        reasons.setdefault(reason, []).append(case)
    for reason, cases in reasons.items():
        more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        yield f"not compared: {cases[0]}{more}: {reason}"
    yield from (f"warning: {warning}" for warning in against.warnings)


def slower(record: Record) -> list[ChangeEntry]:
    """The cells that count towards the exit status."""
    return [cell for cell in record.against.cells if cell.verdict == "slower"] if record.against is not None else []


def change_sentence(cell: ChangeEntry) -> str:
    """One cell in words."""
    change = f"{quantity(cell.after, 's')} {cell.mode}, {quantity(cell.before, 's')} before"
    return f"{percent(cell.ratio)} ({percent(cell.low)} .. {percent(cell.high)}): {change}"


def percent(ratio: float) -> str:
    """A ratio as the change that it is: 1.021 is `+2.1 %`."""
    return f"{(ratio - 1) * 100:+.1f} %"
