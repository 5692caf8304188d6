"""What the running card gives at best in this session: its memory when read and copied, and mma.sync in each type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from specforge.expressions import Scalar

if TYPE_CHECKING:
    from specforge.measure.measurement import Measurement

MATRIX: dict[str, dict[str, Scalar]] = {
    "bf16": {"floating": True, "bits": 16},
    "int8": {"floating": False, "bits": 8},
    "fp8": {"floating": True, "bits": 8},
}
"""What calibration/matrix_rate binds for each type; fp8 is e4m3."""
NAMES = ("read", "copy", *MATRIX)
LEAST_BYTES = 1 << 28
"""Reads and copies have at least so many bytes: about 1 % of their time is a launch's, and twice as many halve that."""
TIMES_L2 = 4
ROUNDS = 2048
WARPS = 16
"""Warps of a multiprocessor: four for each of its tensor cores."""
_E4M3 = ("8.9", "12.")  # compute capabilities; between them ptxas makes products of halves


@dataclass(frozen=True)
class Point:
    """One kernel and size to be measured; `name` is one of NAMES."""

    name: str
    kernel: str
    parameters: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Reached:
    """What one point gave: bytes or operations of a launch, and its amortised seconds with their 95 % interval."""

    name: str
    parameters: dict[str, Scalar]
    binary_sha256: str
    work: float
    seconds: float
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Bytes or operations per second."""
        return self.work / self.seconds


@dataclass(frozen=True, slots=True)
class Calibration:
    """Rates of one session: amortised, large, cold. Whatever was not reached stands in `missing` with its reason."""

    read: float | None
    """Bytes per second."""
    copy: float | None
    """Bytes per second, read and written ones together."""
    matrix: dict[str, float] = field(default_factory=dict)
    """Operations per second of mma.sync by type: bf16, int8, fp8. A multiply-add is two."""
    missing: dict[str, str] = field(default_factory=dict)
    """By name, why there is no rate."""
    points: tuple[Reached, ...] = ()
    """All that was measured; a rate is the best of its name's."""


def plan_points(multiprocessors: int | None, l2_bytes: int, capability: str) -> tuple[list[Point], dict[str, str]]:
    """What to measure on a card, and by name why something is left out. `capability` is written 9.0."""
    least = LEAST_BYTES
    while least < TIMES_L2 * l2_bytes:
        least *= 2
    points = [Point("read", "calibration/read", {"words": least * times // 4}) for times in (1, 2)]
    points.append(Point("copy", "calibration/copy", {"words": least // 4}))
    if multiprocessors is None:
        unknown = "no device file knows this card: how many warps fill it is not known"
        return points, dict.fromkeys(MATRIX, unknown)
    missing = {}
    for name, types in MATRIX.items():
        if name == "fp8" and not capability.startswith(_E4M3):
            missing[name] = f"mma.sync has no e4m3 of its own at compute capability {capability}"
            continue
        size: dict[str, Scalar] = {"warps": WARPS * multiprocessors, "rounds": ROUNDS}
        points.append(Point(name, "calibration/matrix_rate", {**types, **size}))
    return points, missing


def reached(point: Point, work: float, found: Measurement) -> Reached | str:
    """What a measurement says of a point, or why it says nothing: a number stands for a right result only."""
    for check in (found.before, found.after):
        if check is not None and not check.passed:
            return f"the calibration kernel is wrong: {check.failure}"
    if found.refusal is not None:
        return found.refusal
    series = found.series.get("amortised")
    if not found.verified or series is None or not series.samples:
        return "; ".join(found.notes) or "nothing was timed"
    if found.cold == "unproven":
        return "; ".join(found.notes) or "it is not known to have come from memory"
    median = series.median
    if not series.stop.converged or median.low is None or median.high is None:
        return f"its time did not settle to {100 * series.stop.asked:g} %"
    return Reached(point.name, dict(point.parameters), found.binary_sha256, work, median.value, median.low, median.high)


def calibration(found: Iterable[tuple[str, Reached | str]], missing: Mapping[str, str]) -> Calibration:
    """The best of each name's points; the first reason where a name has none."""
    points: list[Reached] = []
    reasons = dict(missing)
    for name, one in found:
        if isinstance(one, Reached):
            points.append(one)
        else:
            reasons.setdefault(name, one)
    best = {name: max(one.rate for one in points if one.name == name) for name in {one.name for one in points}}
    return Calibration(
        best.get("read"),
        best.get("copy"),
        {name: best[name] for name in MATRIX if name in best},
        {name: reasons.get(name, "it was not measured") for name in NAMES if name not in best},
        tuple(points),
    )
