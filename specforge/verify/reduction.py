"""Axes that a kernel sums over, found from its shapes, and inputs with a stretch of such an axis left out."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from specforge.diagnostics import SpecForgeError
from specforge.expressions import Expression, Scalar
from specforge.spec.geometry import BufferPlan, Plan, plan
from specforge.spec.interface import Kernel
from specforge.spec.kernel import Reduction

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

TRIES = 512
"""Lengths looked at for one that every tensor, constraint and shape admits."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of one axis that can be left out: `length` of `size`."""

    axis: str
    size: int
    length: int
    granule: int
    plan: Plan
    """The case with the shorter axis."""
    cuts: dict[str, tuple[int, int]]
    """Input tensor -> the axis along which it lies, and how many blocks, each with all of it, make up that axis."""
    accumulator: str

    def starts(self, count: int = 3) -> list[int]:
        """Where to leave it out: at the beginning, at the end, and evenly between them."""
        room = self.size - self.length
        return sorted({place * room // (count - 1) // self.granule * self.granule for place in range(count)})

    def leave_out(self, inputs: Mapping[str, Array], start: int) -> dict[str, Array]:
        """The inputs without the stretch that begins at `start`."""
        import numpy as np

        found = dict(inputs)
        for name, (axis, blocks) in self.cuts.items():
            shorter, array = self.plan.buffer(name), inputs[name]
            if shorter.element.is_block:  # of whole quantised blocks, whose bytes lie along an axis of their own
                array = array.reshape(*array.shape[:-1], -1, shorter.element.block_bytes)
            per_block = array.shape[axis] // blocks
            first, after = (place * per_block // self.size for place in (start, start + self.length))
            opened = array.reshape(*array.shape[:axis], blocks, per_block, *array.shape[axis + 1 :])
            kept = np.delete(opened, slice(first, after), axis=axis + 1)
            found[name] = np.ascontiguousarray(kept.reshape(shorter.stored_shape))
        return found


@dataclass(frozen=True, slots=True)
class NoGap:
    """Why nothing can be left out of an axis."""

    axis: str
    reason: str


def gaps(kernel: Kernel, case: Plan) -> list[tuple[Gap, Gap] | NoGap]:
    """For each axis that is summed over: a part of it, and its least piece; or why there is none.

    Such an axis is a whole-number parameter that sets the shape of an input and of no output, or one that kernel.yaml
    lists under `reductions`.
    """
    return [_pair(kernel, case, name, told) for name, told in _candidates(kernel)]


def _candidates(kernel: Kernel) -> Iterator[tuple[str, Reduction]]:
    file = kernel.file
    used = {
        role: {
            name
            for tensor in file.tensors.values()
            if tensor.role in (role, "inout")
            for size in tensor.shape
            for name in size.names()
        }
        for role in ("in", "out")
    }
    found = [name for name, parameter in file.parameters.items() if parameter.type == "int"]
    found = [name for name in found if name in used["in"] - used["out"]]
    for name in dict.fromkeys([*found, *file.reductions]):
        yield name, file.reductions.get(name, Reduction())


def _pair(kernel: Kernel, case: Plan, name: str, told: Reduction) -> tuple[Gap, Gap] | NoGap:
    if told.not_summed is not None:
        return NoGap(name, told.not_summed)
    known = {**case.parameters, **case.tunables}
    granule = max(1, told.granule.integer(known))
    size = _size(case, name, told)
    if size <= granule:
        return NoGap(name, f"{name} is {size}: nothing would be left")
    part = -(-size // max(1, told.parts.integer(known)))
    least = _first(kernel, case, name, told, range(granule, size, granule))
    whole = _first(kernel, case, name, told, range(-(-part // granule) * granule, size, granule))
    if least is None:
        return NoGap(name, f"no part of {name}={size} can be left out: constraints or the shapes of inputs forbid it")
    return (whole or least), least


def _size(case: Plan, name: str, told: Reduction) -> int:
    if told.axes:
        return math.gcd(*(case.buffer(tensor).shape[axis] for tensor, axis in told.axes.items()))
    return int(case.parameters[name])


def _first(kernel: Kernel, case: Plan, name: str, told: Reduction, lengths: Sequence[int]) -> Gap | None:
    """The first of these lengths that can be left out."""
    granule = max(1, told.granule.integer({**case.parameters, **case.tunables}))
    for length in lengths[:TRIES]:
        found = _told(case, name, told, length) if told.axes else _seen(kernel, case, name, length)
        if found is not None:
            shorter, cuts = found
            size = _size(case, name, told)
            step = math.lcm(
                granule,
                *(
                    size // math.gcd(size, _pieces(case.buffer(key), axis) // blocks)
                    for key, (axis, blocks) in cuts.items()
                ),
            )
            if length % step == 0:
                return Gap(name, size, length, step, shorter, cuts, told.accumulator)
    return None


def _pieces(buffer: BufferPlan, axis: int) -> int:
    """What can be left out one by one along an axis: its elements, or the quantised blocks of the last one."""
    return buffer.shape[axis] // (buffer.element.block if axis == len(buffer.shape) - 1 else 1)


def _told(case: Plan, name: str, told: Reduction, length: int) -> tuple[Plan, dict[str, tuple[int, int]]] | None:
    """As kernel.yaml says: the axes are shortened, the parameters stay."""
    size = _size(case, name, told)
    shapes = {}
    for tensor, axis in told.axes.items():
        shape = list(case.buffer(tensor).shape)
        if _pieces(case.buffer(tensor), axis) * length % size:
            return None
        shape[axis] -= shape[axis] * length // size
        shapes[tensor] = tuple(shape)
    buffers = tuple(replace(buffer, shape=shapes.get(buffer.name, buffer.shape)) for buffer in case.buffers)
    return replace(case, buffers=buffers), {tensor: (axis, 1) for tensor, axis in told.axes.items()}


def _seen(kernel: Kernel, case: Plan, name: str, length: int) -> tuple[Plan, dict[str, tuple[int, int]]] | None:
    """As the shapes say: the case at a smaller value of the parameter; None where that is no case."""
    size = int(case.parameters[name])
    parameters = {**case.parameters, name: size - length}
    try:
        if not all(constraint.that.truth(parameters) for constraint in kernel.file.constraints):
            return None
        shorter = plan(kernel, parameters, case.tunables)
    except SpecForgeError:
        return None
    cuts: dict[str, tuple[int, int]] = {}
    for buffer, less in zip(case.buffers, shorter.buffers, strict=True):
        changed = [axis for axis, pair in enumerate(zip(buffer.shape, less.shape, strict=True)) if pair[0] != pair[1]]
        if buffer.is_judged and changed:
            return None
        if buffer.role != "in" or not changed:
            continue
        axis = changed[0]
        if len(changed) > 1 or buffer.shape[axis] * (size - length) != less.shape[axis] * size:
            return None
        blocks = _blocks(kernel.file.tensors[buffer.name].shape[axis], name, parameters | case.tunables)
        if blocks is None or _pieces(buffer, axis) % blocks:
            return None
        cuts[buffer.name] = axis, blocks
    # What the reference sees are the shapes of inputs; the rest stays as the case has it.
    rest = {buffer.name: buffer for buffer in case.buffers}
    buffers = tuple(less if less.name in cuts else rest[less.name] for less in shorter.buffers)
    return (replace(shorter, buffers=buffers, tolerances=case.tolerances), cuts) if cuts else None


def _blocks(size: Expression, name: str, known: Mapping[str, Scalar]) -> int | None:
    """How many blocks an axis holds, each with the whole of a parameter's: `heads * dim` has `heads` blocks of dim."""
    tree = ast.parse(size.text.strip(), mode="eval").body
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
        left, right = (Expression(ast.unparse(side)) for side in (tree.left, tree.right))
        if name in left.names():
            return None if name in right.names() else _blocks(left, name, known)
        inner = _blocks(right, name, known)
        return None if inner is None else left.integer(known) * inner
    return 1
