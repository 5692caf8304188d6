"""llama.cpp's cold times beside the amortised ones of records from the same card: a section of docs/kernels.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.llama_cpp.cases import cases
from specforge.expressions import Scalar
from specforge.record.measured import EstimateEntry
from specforge.record.model import Record
from specforge.report.kernels import card_of, flaw, listed

HEADS = ("operation", "llama.cpp", "95 % interval", "SpecForge", "times as fast")


def section(path: Path, found: Sequence[tuple[Record, Sequence[str]]]) -> str:
    """A table of every case that both have timed cold, and what llama.cpp got wrong; where there is no result, why.

    With a record the names of its inputs that have changed since.
    """
    if not path.exists():
        return "Not measured yet: `python -m benchmarks.llama_cpp --source DIR` on a card makes this section.\n"
    result = json.loads(path.read_text())
    card, build = result["card"]["name"], result["llama_cpp"]
    same_card = [(record, changed) for record, changed in found if card_of(record) == card]
    names = [name for _, changed in same_card for name in changed]
    theirs = {one["case"]: one for one in result["cases"] if one["mode"] == "cold"}
    rows, notes = [], []
    for case in (case for case in cases() if case.name in theirs):
        ours = amortised((record for record, _ in same_card), case.kernel, case.shape) if case.shape else None
        if "seconds" not in theirs[case.name]:
            notes.append(f"- {case.name} has no time: {theirs[case.name]['error']}.")
        elif ours is not None:
            rows.append(_row(case.name, theirs[case.name]["seconds"], ours))
    left = len(theirs) - len(rows) - len(notes)
    if left:
        why = "their shape is in no record, or no kernel does just that"
        notes.append(f"- {left} more have no time of ours beside them: {why}.")
    head = [
        f"{card}, driver {result['card']['driver']}, {result['created'][:10]}; llama.cpp {build['commit']} (ggml "
        f"{build['ggml']}) from {build['package']} {build['version']}, built there in {build['seconds']:.0f} s.",
        *([f"**Stale**: {listed(names)} changed since SpecForge's figures."] if names else []),
        "",
        f"| {' | '.join(HEADS)} |",
        "|---|--:|--:|--:|--:|",
    ]
    return "\n".join([*head, *rows, *([""] if notes else []), *notes]) + "\n"


def amortised(records: Iterable[Record], kernel: str, shape: Mapping[str, Scalar]) -> EstimateEntry | None:
    """Our time of that shape, of the first record that has a sound one; in seconds."""
    for case in (case for record in records for case in record.cases if case.kernel == kernel):
        if case.measurement is not None and flaw(case) is None and shape.items() <= case.parameters.items():
            found = case.measurement.estimates.get("amortised")
            if found is not None:
                return found
    return None


def _row(name: str, theirs: Mapping[str, Any], ours: EstimateEntry) -> str:
    """Two programs' medians; the ratio's bounds are those of both intervals at their worst."""
    least, most = theirs["low"] / ours.high, theirs["high"] / ours.low
    ratio = f"{theirs['median'] / ours.value:.2f} ({least:.2f} to {most:.2f})"
    interval = f"{_us(theirs['low'])} .. {_us(theirs['high'])}"
    return f"| {name} | {_us(theirs['median'])} | {interval} | {_us(ours.value)} | {ratio} |"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} us"
