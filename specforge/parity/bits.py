"""Comparing two results of one kernel bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from specforge.spec.geometry import Plan
from specforge.verify.compare import Array


@dataclass(frozen=True, slots=True)
class Difference:
    """How two copies of one output differ. `ulps`: the most representable numbers between the two, in any element.

    `index` is the element that is furthest apart; `card` and `emulator` its values as text, as exact as they are.
    """

    output: str
    elements: int
    unequal: int
    ulps: int
    index: tuple[int, ...]
    card: str
    emulator: str

    def __str__(self) -> str:
        """One clause: which element, both values, how many differ."""
        where = f"{self.output}[{', '.join(map(str, self.index))}]"
        share = f"{self.unequal:,} of {self.elements:,} elements differ"
        return f"{where} is {self.card} on the card and {self.emulator} on the emulator, {self.ulps:,} apart; {share}"


def compare_bits(case: Plan, card: Mapping[str, Array], emulator: Mapping[str, Array]) -> tuple[Difference, ...]:
    """Every output of a case, in order, equal ones included; arrays in storage types."""
    return tuple(
        _compare(buffer.name, card[buffer.name], emulator[buffer.name]) for buffer in case.buffers if buffer.is_judged
    )


def _compare(name: str, one: Array, other: Array) -> Difference:
    if one.shape != other.shape or one.dtype != other.dtype:
        raise ValueError(f"{name} is {one.dtype}{one.shape} on one side and {other.dtype}{other.shape} on the other")
    first, second = _ordered(one), _ordered(other)
    unequal = first != second
    with np.errstate(over="ignore"):
        apart = np.maximum(first, second).astype(np.uint64) - np.minimum(first, second).astype(np.uint64)
    place = np.unravel_index(int(np.argmax(apart)), one.shape)
    return Difference(
        output=name,
        elements=one.size,
        unequal=int(np.count_nonzero(unequal)),
        ulps=int(apart[place]),
        index=tuple(int(axis) for axis in place),
        card=_text(one[place]),
        emulator=_text(other[place]),
    )


def _ordered(values: Array) -> Array:
    """Whole numbers in the order of the values: neighbours differ by one, and other bits are another number."""
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    size = values.itemsize
    bits = np.ascontiguousarray(values).view(f"i{size}").astype(np.int64)
    lowest = np.int64(-(2 ** (8 * size - 1)))
    return np.where(bits < 0, lowest - bits - 1, bits)  # -0 lies just below +0: equal as numbers, not as bits


def _text(value: object) -> str:
    number = float(value) if not isinstance(value, np.integer) else int(value)  # type: ignore[arg-type]
    return f"{number:.9g} ({number.hex()})" if isinstance(number, float) else str(number)
