"""Comparing a kernel's outputs with the reference, element by element and row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from specforge.spec.geometry import BufferPlan, Plan, Tolerance
from specforge.verify.reference import widen

Array = np.ndarray[Any, np.dtype[Any]]
PIECE = 1 << 17
"""Elements that are compared in one go: what is worked out in between stays in the CPU's caches."""


@dataclass(frozen=True, slots=True)
class OutputError:
    """How far one output is from its reference: `ratio` is the largest |got - want| / allowed, wrong above 1."""

    output: str
    ratio: float
    index: tuple[int, ...]
    """The worst element."""
    row: tuple[int, ...]
    """The worst element's coordinates along the axes that name a row."""
    got: float
    want: float
    allowed: float
    wrong_rows: int
    total_rows: int
    wrong: int
    """Elements out of tolerance."""
    total: int
    unwritten: int
    """Wrong elements that still hold the poison written before the launch."""
    place: str = ""
    """The worst element by the names of its axes: `out[batch=0, q_heads=3]`."""
    row_axes: tuple[str, ...] = ()
    """What names a row."""
    rounding: float = 0.0
    """What |got - want| may be ahead of all that: see `rounding`."""

    @property
    def passed(self) -> bool:
        """Whether every element is within tolerance."""
        return self.ratio <= 1

    def __str__(self) -> str:
        """One clause for people: the worst element, both values, the error and what is allowed, how many rows."""
        where = self.place or f"{self.output}[{', '.join(map(str, self.index))}]"
        got, want = _pair(self.got, self.want)
        if self.passed:
            return f"{self.output}: within tolerance, at worst {self.ratio:.2g} of it at {where}"
        if self.unwritten == self.wrong:
            found = f"{where} was never written (the reference says {want})"
        elif not math.isfinite(self.got):
            found = f"{where} is {got}, the reference says {want}"
        elif self.allowed == self.rounding == 0:
            found = f"{where} is {got}, the reference says {want}: they must be equal"
        else:
            off = f"{abs(self.got - self.want) - self.rounding:.3g}{' beyond its rounding' if self.rounding else ''}"
            found = f"{where} is {got}, the reference says {want}: off by {off} where {self.allowed:.3g} is allowed"
            found += f", {_times(self.ratio)} the tolerance" if self.allowed else ""
        never = f", {self.unwritten:,} elements never written" if 0 < self.unwritten < self.wrong else ""
        rows = (
            f"{self.wrong_rows:,} of {self.total_rows:,} rows{self._of()} wrong"
            if self.total_rows > 1
            else f"{self.wrong:,} of {self.total:,} elements wrong"
        )
        return f"{found}; {rows}{never}"

    def _of(self) -> str:
        return f" ({', '.join(self.row_axes)})" if self.row_axes else ""


def _pair(got: float, want: float) -> tuple[str, str]:
    """Both values with as few digits as tell them apart."""
    for digits in (4, 6, 9, 17):
        texts = f"{got:.{digits}g}", f"{want:.{digits}g}"
        if texts[0] != texts[1] and (isinstance(got, float) or digits == 17):
            break
    texts = (str(got), str(want)) if isinstance(got, int) else texts
    return texts[0].replace("nan", "NaN"), texts[1].replace("nan", "NaN")


def _times(ratio: float) -> str:
    return f"{ratio:.0f}x" if 10 <= ratio < 1e4 else f"{ratio:.3g}x"


def judge(plan: Plan, got: Mapping[str, Array], want: Mapping[str, Array]) -> tuple[OutputError, ...]:
    """Compare every output of a case, in order; `got` in storage types, `want` as `call_reference` returns it."""
    return tuple(_judge(plan, buffer, got[buffer.name], want) for buffer in plan.buffers if buffer.is_judged)


def _judge(plan: Plan, buffer: BufferPlan, left: Array, reference: Mapping[str, Array]) -> OutputError:
    if left.shape != buffer.shape:
        raise ValueError(f"{buffer.name} has shape {left.shape}, planned {buffer.shape}")
    tolerance, flat = plan.tolerances[buffer.name], left.reshape(-1)
    want = {name: array.reshape(-1) for name, array in _of(buffer, reference).items()}
    half = rounding(buffer, reference)

    def allowed(part: slice) -> Array:
        some = {name: array[part] for name, array in want.items()}
        return _sum(_terms(tolerance, buffer, some), some[buffer.name].shape)

    worst, place, unwritten = -1.0, 0, 0
    wrong: Array | None = None
    for start in range(0, left.size, PIECE):
        part = slice(start, start + PIECE)
        got, due = widen(flat[part]), want[buffer.name][part]
        if tolerance.exact and (got == due).all():
            worst = max(worst, 0.0)
            continue
        ratios = np.where(got == due, 0.0, np.inf) if tolerance.exact else _ratios(got, due, allowed(part), half)
        top = int(np.argmax(ratios))
        if ratios[top] > worst:
            worst, place = float(ratios[top]), start + top
        if ratios[top] > 1:
            wrong = np.zeros(left.size, bool) if wrong is None else wrong
            wrong[part] = ratios > 1
            unwritten += 0 if buffer.is_given else int(np.count_nonzero(wrong[part] & _poisoned(flat[part])))
    index = tuple(int(axis) for axis in np.unravel_index(place, buffer.shape))
    others = tuple(axis for axis in range(len(buffer.shape)) if axis not in buffer.rows)
    one = slice(place, place + 1)
    return OutputError(
        output=buffer.name,
        ratio=worst,
        index=index,
        row=tuple(index[axis] for axis in buffer.rows),
        got=widen(flat[one])[0].item(),
        want=want[buffer.name][place].item(),
        allowed=float(allowed(one)[0]),
        wrong_rows=0 if wrong is None else int(np.count_nonzero(wrong.reshape(buffer.shape).any(axis=others))),
        total_rows=math.prod(buffer.shape[axis] for axis in buffer.rows),
        wrong=0 if wrong is None else int(np.count_nonzero(wrong)),
        total=left.size,
        unwritten=unwritten,
        place=buffer.at(index),
        row_axes=tuple(buffer.axes[axis] for axis in buffer.rows) if buffer.axes else (),
        rounding=half,
    )


def _of(buffer: BufferPlan, reference: Mapping[str, Array]) -> dict[str, Array]:
    """What the reference says of one output: its values and, where it gives it, their magnitude."""
    return {name: reference[name] for name in (buffer.name, f"{buffer.name}_magnitude") if name in reference}


def rounding(buffer: BufferPlan, reference: Mapping[str, Array]) -> float:
    """Half of one where a whole number is due and the reference says what is rounded, in float64; else 0.

    That much is no error, so either neighbour of a tie is right.
    """
    return 0.5 if not buffer.element.is_float and reference[buffer.name].dtype.kind == "f" else 0.0


def stored(buffer: BufferPlan, reference: Mapping[str, Array]) -> Array:
    """What the reference says of an output as a kernel without an error would store it."""
    array = reference[buffer.name]
    return (np.rint(array) if rounding(buffer, reference) else array).astype(buffer.element.numpy())


def allowance(plan: Plan, buffer: BufferPlan, reference: Mapping[str, Array]) -> Array:
    """What each element of an output may err by: zeros where it is exact."""
    return _sum(terms(plan, buffer, reference), buffer.shape)


def terms(plan: Plan, buffer: BufferPlan, reference: Mapping[str, Array]) -> dict[str, Array]:
    """The tolerance of each element, term by term, by the key of kernel.yaml; those that are zero are left out."""
    return _terms(plan.tolerances[buffer.name], buffer, reference)


def _terms(tolerance: Tolerance, buffer: BufferPlan, reference: Mapping[str, Array]) -> dict[str, Array]:
    found = {}
    if tolerance.relative:
        found["relative"] = tolerance.relative * np.abs(reference[buffer.name])
    if tolerance.conditioned:
        found["conditioned"] = tolerance.conditioned * reference[f"{buffer.name}_magnitude"]
    if tolerance.absolute:
        found["absolute"] = np.full(reference[buffer.name].shape, tolerance.absolute)
    return found


def _sum(found: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    total, *others = found.values() or (np.zeros(shape),)
    for other in others:
        total = total + other
    return total


def _ratios(got: Array, want: Array, allowed: Array, half: float) -> Array:
    """|got - want| beyond `half`, over allowed: 0 where there is none, infinite where nothing is allowed.

    Infinite, too, where `got` is not finite.
    """
    with np.errstate(all="ignore"):
        difference = np.maximum(np.abs(got - want) - half, 0.0) if half else np.abs(got - want)
        ratios: Array = difference / allowed
    ratios[difference == 0] = 0.0
    ratios[~np.isfinite(got)] = np.inf
    return ratios


def _poisoned(stored: Array) -> Array:
    """Where every byte is still 0xFF; one byte alone proves nothing."""
    if stored.itemsize == 1:
        return np.zeros(stored.shape, bool)
    bits = np.ascontiguousarray(stored).view(f"u{stored.itemsize}")
    found: Array = bits == np.iinfo(bits.dtype).max
    return found
