"""From what was measured to its entries in the record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from specforge.backend.telemetry import Telemetry
from specforge.check.measurement import Measured
from specforge.measure.cell import Cell
from specforge.measure.measurement import Measurement
from specforge.measure.peer import PeerCell
from specforge.measure.series import MODES, Series
from specforge.record.entry import Entry
from specforge.record.measured import (
    BatchEntry,
    EstimateEntry,
    MeasurementEntry,
    RoundEntry,
    SeriesEntry,
    SessionEntry,
    StopEntry,
)
from specforge.record.model import MetricEntry, PeerEntry

Recorded = TypeVar("Recorded", bound=Entry)
DIGITS = 7
"""Significant digits of a sample: finer than any event's resolution, and a third of the characters."""


def measurement_entry(cell: Cell, overhead: float) -> MeasurementEntry | None:
    """A cell with all its samples; None where no process got so far. `overhead` as `Cell.telling` takes it."""
    if not cell.rounds:
        return None
    found = {mode: cell.estimate(mode) for mode in cell.modes} | {"energy": cell.energy}
    return MeasurementEntry(
        rounds=[_round(one) for one in cell.rounds],
        estimates={name: _entry(EstimateEntry, one) for name, one in found.items() if one is not None},
        telling=list(cell.telling(overhead)),
    )


def peer_entry(peer: PeerCell) -> PeerEntry:
    """A peer in one case, with all its samples."""
    first = peer.rounds[0]
    medians = {mode: peer.estimate(mode) for mode in MODES}
    return PeerEntry(
        versions=first.versions,
        tolerance_times=first.tolerance_times,
        reason=first.reason,
        absent=peer.absent,
        worst_ratio=ratio_entry(peer.ratio),
        times={
            mode: MetricEntry(value=found.value, unit="s", low=found.low, high=found.high)
            for mode, found in medians.items()
            if found is not None
        },
        rounds=[
            {
                "series": {mode: _series(series).model_dump() for mode, series in one.series.items()},
                "operations": one.operations,
                "copies": dict(one.copies),
                "rotated_bytes": one.rotated_bytes,
                "absent": one.absent,
                "notes": list(one.notes),
                "seconds": round(one.seconds, 3),
            }
            for one in peer.rounds
        ],
    )


def session_entry(measured: Measured) -> SessionEntry | None:
    """What was measured once and how the card was held; None where nothing was measured."""
    session = measured.session
    if session is None:
        return None
    floors, calibration = session.floors, session.calibration
    readings = [reading for outcome in measured.outcomes.values() for reading in _readings(outcome.cell)]
    rates = {"read": calibration.read, "copy": calibration.copy, **calibration.matrix} if calibration else {}
    untold: dict[str, str] = {}
    for reading in readings:
        untold |= {"everything": reading.reason} if reading.reason else reading.missing
    return SessionEntry(
        event_overhead=None if floors is None else rounded(floors.event_overhead),
        null_kernel={} if floors is None else {mode: rounded(time) for mode, time in floors.null.items()},
        rates={name: rate for name, rate in rates.items() if rate is not None},
        calibration=[plain(dataclasses.asdict(point)) for point in calibration.points] if calibration else [],
        missing={**session.missing, **(calibration.missing if calibration else {})},
        clocks=measured.clocks,
        telemetry_missing=untold,
        foreign_processes=sorted({pid for reading in readings for pid in reading.foreign_processes}),
        notes=list(measured.notes),
    )


def _round(one: Measurement) -> RoundEntry:
    return _entry(
        RoundEntry,
        one,
        series={mode: _series(series) for mode, series in one.series.items()},
        launches={entry: _series(series, told=False) for entry, series in one.launches.items()},
        energy=None if one.energy is None else plain(dataclasses.asdict(one.energy)),
        telemetry=None if one.telemetry is None else plain(dataclasses.asdict(one.telemetry)),
        notes=list(one.notes),
        seconds=round(one.seconds, 3),
    )


def _series(series: Series, *, told: bool = True) -> SeriesEntry:
    """A series; without what the card said after each batch unless `told`."""
    return _entry(
        SeriesEntry,
        series,
        stop=_entry(StopEntry, series.stop),
        batches=[
            BatchEntry(
                samples=[rounded(sample) for sample in batch.samples],
                telemetry=_told(batch.telemetry) if told else {},
                discarded=batch.discarded,
            )
            for batch in series.batches
        ],
        notes=list(series.notes),
    )


def _told(reading: Telemetry) -> dict[str, Any]:
    """What the card said; why it said no more stands once in the round."""
    said = plain(dataclasses.asdict(reading))
    return {name: value for name, value in said.items() if name != "missing" and value not in (None, [])}


def _readings(cell: Cell) -> Iterable[Telemetry]:
    for one in cell.rounds:
        if one.telemetry is not None:
            yield one.telemetry
        yield from (batch.telemetry for series in one.series.values() for batch in series.batches)


def _entry(kind: type[Recorded], source: object, **other: object) -> Recorded:
    """An entry whose fields are the source's of the same name, but for those given."""
    return kind(**{name: getattr(source, name) for name in kind.model_fields if name not in other}, **other)


def ratio_entry(value: float) -> float | Literal["inf"]:
    """An error's ratio as a record holds it."""
    return value if math.isfinite(value) else "inf"


def rounded(value: float) -> float:
    """A measured figure with DIGITS significant digits."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else value


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON-like data
    """Dataclasses' dicts and tuples as JSON has them."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value
