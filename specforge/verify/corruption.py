"""Checking the checker: outputs that are known to be wrong must be rejected at the declared tolerance.

Before a kernel is judged, each of its outputs is replaced by a corrupted copy of the reference's own result. A
tolerance that lets one through would let such a kernel through, so the kernel file is invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specforge.spec.geometry import BufferPlan, Plan
from specforge.verify.compare import judge
from specforge.verify.example import Example, draw_inputs
from specforge.verify.reference import call_reference

if TYPE_CHECKING:
    from specforge.backend.runner import Runner

Array = np.ndarray[Any, np.dtype[Any]]
OTHER_SEED = 0x0DD
"""Added to the seed for the output that is stale."""
RIGHT = "the rounded reference itself"


@dataclass(frozen=True, slots=True)
class Survivor:
    """A corruption that passes: its error is `ratio` times the tolerance; one below that share would catch it."""

    output: str
    corruption: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Ground:
    """What a corruption is made from: the right output, the one of other inputs, and its plan."""

    right: Array
    other: Array
    buffer: BufferPlan

    def rows(self, array: Array) -> Array:
        """The array with the axes that name a row flattened in front and all others behind: [rows, elements]."""
        axes = list(self.buffer.rows)
        count = int(np.prod([self.buffer.shape[axis] for axis in axes], dtype=np.int64))
        return np.moveaxis(array, axes, range(len(axes))).reshape(count, -1)

    def like(self, rows: Array) -> Array:
        """The inverse of `rows`."""
        axes = list(self.buffer.rows)
        others = [axis for axis in range(len(self.buffer.shape)) if axis not in axes]
        shape = [self.buffer.shape[axis] for axis in (*axes, *others)]
        return np.moveaxis(rows.reshape(shape), range(len(axes)), axes)


def _rolled(ground: Ground) -> Array:
    return ground.like(np.roll(ground.rows(ground.right), 1, axis=0))


def _unwritten_tail(ground: Ground) -> Array:
    bits = ground.right.copy()
    bits.reshape(-1).view(f"u{bits.itemsize}")[-1] = np.iinfo(f"u{bits.itemsize}").max
    return bits


def _nan_row(ground: Ground) -> Array:
    rows = ground.rows(ground.right).copy()
    rows[-1] = np.nan
    return ground.like(rows)


def _one_element(ground: Ground) -> Array:
    """The smallest element of a row, which a tolerance relative to the row forgives most, takes the largest's value."""
    rows = ground.rows(ground.right).copy()
    size = np.abs(rows[-1].astype(np.float64))
    rows[-1, int(np.argmin(size))] = rows[-1, int(np.argmax(size))]
    return ground.like(rows)


def _scaled(factor: float) -> Callable[[Ground], Array]:
    return lambda ground: (ground.right.astype(np.float64) * factor).astype(ground.right.dtype)


EVERY: dict[str, Callable[[Ground], Array]] = {
    "all zeros": lambda ground: np.zeros_like(ground.right),
    "rows permuted": _rolled,
    "a stale output": lambda ground: ground.other,
    "an unwritten tail": _unwritten_tail,
    "one wrong element": _one_element,
}
FLOATS: dict[str, Callable[[Ground], Array]] = {
    "everything x0.5": _scaled(0.5),
    "everything x1.5": _scaled(1.5),
    "every sign flipped": _scaled(-1.0),
    "one row NaN": _nan_row,
}
INTEGERS: dict[str, Callable[[Ground], Array]] = {
    "off by one": lambda ground: ground.right + ground.right.dtype.type(1)
}


def corruptions(buffer: BufferPlan) -> dict[str, Callable[[Ground], Array]]:
    """Those that make sense for an output's type."""
    if not buffer.element.is_float:
        return EVERY | INTEGERS
    return EVERY | FLOATS


def check_tolerances(_runner: Runner, payload: tuple[Plan, Example]) -> list[Survivor]:
    """Corrupt each output in every way that changes it and collect what is not rejected; a task for a worker.

    A tolerance that rejects the best possible result is collected too, as RIGHT with its ratio above 1.
    """
    plan, example = payload
    inputs = draw_inputs(plan, example)
    want = call_reference(plan, inputs)
    elsewhere = call_reference(plan, draw_inputs(plan, Example(example.parameters, seed=example.seed + OTHER_SEED)))
    right = {name: _stored(plan, name, want) for name in plan.tolerances}
    found = [Survivor(error.output, RIGHT, error.ratio) for error in judge(plan, right, want) if not error.passed]
    for buffer in plan.buffers:
        if buffer.role != "out":
            continue
        ground = Ground(right[buffer.name], _stored(plan, buffer.name, elsewhere), buffer)
        for name, corrupt in corruptions(buffer).items():
            wrong = np.ascontiguousarray(corrupt(ground))
            if wrong.tobytes() == ground.right.tobytes():
                continue
            error = next(
                error for error in judge(plan, right | {buffer.name: wrong}, want) if error.output == buffer.name
            )
            if error.passed:
                found.append(Survivor(buffer.name, name, error.ratio))
    return found


def _stored(plan: Plan, name: str, values: Mapping[str, Array]) -> Array:
    return values[name].astype(plan.buffer(name).element.numpy())
