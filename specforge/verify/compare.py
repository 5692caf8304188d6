"""Comparing a kernel's outputs with the reference, element by element and row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from specforge.spec.geometry import BufferPlan, Plan
from specforge.verify.reference import widen

Array = np.ndarray[Any, np.dtype[Any]]


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
        elif self.allowed == 0:
            found = f"{where} is {got}, the reference says {want}: they must be equal"
        else:
            error = f"off by {abs(self.got - self.want):.3g} where {self.allowed:.3g} is allowed"
            found = f"{where} is {got}, the reference says {want}: {error}, {_times(self.ratio)} the tolerance"
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


def _judge(plan: Plan, buffer: BufferPlan, stored: Array, reference: Mapping[str, Array]) -> OutputError:
    if stored.shape != buffer.shape:
        raise ValueError(f"{buffer.name} has shape {stored.shape}, planned {buffer.shape}")
    got, want = widen(stored), reference[buffer.name]
    allowed = allowance(plan, buffer, reference)
    exact = plan.tolerances[buffer.name].exact
    ratios = np.where(got == want, 0.0, np.inf) if exact else _ratios(got, want, allowed)
    wrong = ratios > 1
    wrong_count = int(np.count_nonzero(wrong))
    worst = tuple(int(place) for place in np.unravel_index(int(np.argmax(ratios)), buffer.shape))
    others = tuple(axis for axis in range(len(buffer.shape)) if axis not in buffer.rows)
    wrong_rows = int(np.count_nonzero(wrong.any(axis=others))) if wrong_count else 0
    return OutputError(
        output=buffer.name,
        ratio=float(ratios[worst]),
        index=worst,
        row=tuple(worst[axis] for axis in buffer.rows),
        got=got[worst].item(),
        want=want[worst].item(),
        allowed=float(allowed[worst]),
        wrong_rows=wrong_rows,
        total_rows=math.prod(buffer.shape[axis] for axis in buffer.rows),
        wrong=wrong_count,
        total=stored.size,
        unwritten=int(np.count_nonzero(wrong & _poisoned(stored))) if wrong_count and not buffer.is_given else 0,
        place=buffer.at(worst),
        row_axes=tuple(buffer.axes[axis] for axis in buffer.rows) if buffer.axes else (),
    )


def allowance(plan: Plan, buffer: BufferPlan, reference: Mapping[str, Array]) -> Array:
    """What each element of an output may err by: zeros where it is exact."""
    return sum(terms(plan, buffer, reference).values(), start=np.zeros(buffer.shape))


def terms(plan: Plan, buffer: BufferPlan, reference: Mapping[str, Array]) -> dict[str, Array]:
    """The tolerance of each element, term by term, by the key of kernel.yaml; those that are zero are left out."""
    tolerance = plan.tolerances[buffer.name]
    found = {}
    if tolerance.relative:
        found["relative"] = tolerance.relative * np.abs(reference[buffer.name])
    if tolerance.conditioned:
        found["conditioned"] = tolerance.conditioned * reference[f"{buffer.name}_magnitude"]
    if tolerance.absolute:
        found["absolute"] = np.full(buffer.shape, tolerance.absolute)
    return found


def _ratios(got: Array, want: Array, allowed: Array) -> Array:
    """|got - want| / allowed: 0 where equal, infinite where nothing is allowed or `got` is not finite."""
    with np.errstate(all="ignore"):
        difference = np.abs(got - want)
        ratios = np.where(difference == 0, 0.0, np.inf)
        np.divide(difference, allowed, out=ratios, where=(difference > 0) & (allowed > 0))
    ratios[~np.isfinite(got)] = np.inf
    return ratios


def _poisoned(stored: Array) -> Array:
    """Where every byte is still 0xFF; one byte alone proves nothing."""
    if stored.itemsize == 1:
        return np.zeros(stored.shape, bool)
    bits = np.ascontiguousarray(stored).view(f"u{stored.itemsize}")
    found: Array = bits == np.iinfo(bits.dtype).max
    return found
