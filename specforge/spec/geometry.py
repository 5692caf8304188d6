"""The concrete plan of a case: buffer shapes, launches, work and tolerances as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from specforge.diagnostics import Diagnostic, SpecForgeError
from specforge.dtypes import DTYPES, DType
from specforge.expressions import Expression, ExpressionError, Scalar
from specforge.spec.bounds import Bounds, bounds_of
from specforge.spec.document import Location
from specforge.spec.interface import Kernel, expression_diagnostic
from specforge.spec.kernel import ErrorBound, Role

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BufferPlan:
    """One tensor of a case: C-contiguous, `nbytes` long."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    values: tuple[str, ...]
    residency: Literal["hot", "cold"]
    rows: tuple[int, ...]
    axes: tuple[str, ...] = ()
    """What each axis counts, as kernel.yaml writes its size; empty where nobody says."""
    ranges: dict[str, Bounds] = field(default_factory=dict)
    """Bounds of those of `values` that are no distributions."""
    touched: int | None = None
    """Bytes of it that one launch group surely reads; None for all of it."""

    @property
    def passing(self) -> int:
        """Bytes that surely pass through a cache when a launch group uses it."""
        return self.nbytes if self.touched is None else min(self.touched, self.nbytes)

    def at(self, index: Sequence[int]) -> str:
        """An element's place in words: `out[batch=0, q_heads=3, head_dim=17]`."""
        named = len(self.axes) == len(index)
        parts = [f"{axis}={place}" for axis, place in zip(self.axes, index, strict=True)] if named else map(str, index)
        return f"{self.name}[{', '.join(parts)}]"

    @property
    def is_given(self) -> bool:
        """Whether it holds drawn values before a launch: an input, or updated in place."""
        return self.role in ("in", "inout")

    @property
    def is_judged(self) -> bool:
        """Whether what it holds after a launch is compared: an output, or updated in place."""
        return self.role in ("out", "inout")

    @property
    def element(self) -> DType:
        """The element type."""
        return DTYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.element.nbytes(math.prod(self.shape))

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of the array that holds it: of a block type, bytes along the last axis."""
        element = self.element
        return (*self.shape[:-1], element.nbytes(self.shape[-1])) if element.is_block else self.shape


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """One launch: a text argument is a buffer's name, a number a scalar."""

    entry: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    args: tuple[Scalar, ...]
    dependent: bool = False
    """May start before the launch ahead of it has ended; the first launch of a group: before the group ahead has."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """|got - reference| <= relative * |reference| + conditioned * magnitude + absolute; `exact` allows nothing.

    Half of one comes on top where a whole number is due and the reference returns what is rounded.
    """

    exact: bool
    relative: float = 0.0
    conditioned: float = 0.0
    absolute: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a worker needs to run and judge one case, apart from the binary."""

    kernel: str
    reference: str
    """Path of the reference file."""
    parameters: dict[str, Scalar]
    tunables: dict[str, Scalar]
    buffers: tuple[BufferPlan, ...]
    launches: tuple[LaunchPlan, ...]
    bytes: float
    flops: float
    steps: float
    tolerances: dict[str, Tolerance]
    tokens: float | None = None
    """What the launch group serves; None where kernel.yaml does not say."""
    chain: dict[str, str] = field(default_factory=dict)
    """Inputs and the outputs that take their place in the next launch group; empty where groups do not overlap."""

    def buffer(self, name: str) -> BufferPlan:
        """The buffer of that name."""
        return next(buffer for buffer in self.buffers if buffer.name == name)

    @property
    def updated(self) -> tuple[str, ...]:
        """Names of the tensors that are updated in place: each launch finds what the one before left there."""
        return tuple(buffer.name for buffer in self.buffers if buffer.role == "inout")


def resolve_tunables(
    kernel: Kernel, parameters: Mapping[str, Scalar], device: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """Evaluate every tunable's default for a case; raises SF405 where a default leaves its own domain."""
    known = {**parameters, **device}
    found: dict[str, Scalar] = {}
    for name, tunable in kernel.file.tunables.items():
        value = _at(kernel, ("tunables", name, "default"), tunable.default.evaluate, known)
        if value not in tunable.domain:
            where = kernel.document.at(("tunables", name, "default"))
            raise SpecForgeError(
                Diagnostic(
                    "SF405",
                    f"the default of tunable {name!r} is {value!r} for {_row(parameters)}, outside {tunable.domain}",
                    where,
                    tunable.default.text,
                )
            )
        found[name] = value
    return found


def is_specialised(kernel: Kernel, parameters: Mapping[str, Scalar]) -> bool | None:
    """Whether a case hits the kernel's fast variant; None where kernel.yaml does not say which cases do."""
    formula = kernel.file.specialised
    return None if formula is None else _at(kernel, ("specialised",), formula.truth, parameters)


def plan(kernel: Kernel, parameters: Mapping[str, Scalar], tunables: Mapping[str, Scalar]) -> Plan:
    """Evaluate shapes, grids, arguments, work and tolerances; raises SF304 at the expression at fault."""
    known = {**parameters, **tunables}
    file = kernel.file
    buffers = []
    for name, tensor in file.tensors.items():
        shape = tuple(
            _positive(kernel, ("tensors", name, "shape", axis), size, known) for axis, size in enumerate(tensor.shape)
        )
        dtype = tensor.dtype if tensor.dtype in DTYPES else str(parameters[tensor.dtype])
        block = DTYPES[dtype].block
        if shape[-1] % block:
            message = f"{shape[-1]} elements are no whole number of {dtype}'s blocks of {block} for {_row(parameters)}"
            where, last = kernel.document.at(("tensors", name, "shape", len(shape) - 1)), tensor.shape[-1].text
            hint = f"add a constraint that `{last}` is a multiple of {block}"
            raise SpecForgeError(Diagnostic("SF304", message, where, last, hint))
        rows = tuple(range(len(shape) - 1)) if tensor.rows is None else tuple(tensor.rows)
        axes = tuple("".join(size.text.split()) for size in tensor.shape)
        ranges = bounds_of(kernel, name, shape=shape, dtype=dtype, known=known, case=_row(parameters))
        labels = tuple(tensor.labels)
        touched = tensor.touched
        size = None if touched is None else _positive(kernel, ("tensors", name, "touched"), touched, known)
        buffers.append(BufferPlan(name, shape, dtype, tensor.role, labels, tensor.residency, rows, axes, ranges, size))
    launches = tuple(_launch(kernel, index, known) for index in range(len(file.launches)))
    tolerances = {name: _tolerance(kernel, name, known) for name in file.tolerance}
    work = {
        key: _not_negative(kernel, location, formula, known)
        for key, location, formula in (
            ("bytes", ("work", "bytes"), file.work.bytes),
            ("flops", ("work", "flops"), file.work.flops),
            ("steps", ("emulation", "steps"), file.emulation.steps),
        )
    }
    tokens = file.work.tokens
    return Plan(
        kernel.identity,
        str(kernel.reference),
        dict(parameters),
        dict(tunables),
        tuple(buffers),
        launches,
        work["bytes"],
        work["flops"],
        work["steps"],
        tolerances,
        None if tokens is None else _not_negative(kernel, ("work", "tokens"), tokens, known),
        dict(file.chain),
    )


def _launch(kernel: Kernel, index: int, known: Mapping[str, Scalar]) -> LaunchPlan:
    launch = kernel.file.launches[index]

    def three(key: str) -> tuple[int, int, int]:
        formulas: list[Expression] = getattr(launch, key)
        sizes = [_positive(kernel, ("launches", index, key, axis), size, known) for axis, size in enumerate(formulas)]
        x, y, z = (*sizes, 1, 1, 1)[:3]
        return x, y, z

    args: list[Scalar] = []
    for place, argument in enumerate(launch.args):
        name = argument.text.strip()
        if name in kernel.file.tensors:
            args.append(name)
        else:
            here: Location = ("launches", index, "args", place)
            _at(kernel, here, argument.number, known)  # refuses a text and a truth value
            args.append(_at(kernel, here, argument.evaluate, known))
    at_shared: Location = ("launches", index, "shared_bytes")
    shared = _at(kernel, at_shared, launch.shared_bytes.integer, known)
    if shared < 0:
        raise SpecForgeError(Diagnostic("SF304", f"{shared} bytes of shared memory", kernel.document.at(at_shared)))
    return LaunchPlan(launch.entry, three("grid"), three("block"), shared, tuple(args), launch.dependent)


def _tolerance(kernel: Kernel, name: str, known: Mapping[str, Scalar]) -> Tolerance:
    bound = kernel.file.tolerance[name]
    if not isinstance(bound, ErrorBound):
        return Tolerance(exact=True)
    parts = {
        key: _not_negative(kernel, ("tolerance", name, key), getattr(bound, key), known)
        for key in ("relative", "conditioned", "absolute")
    }
    return Tolerance(False, **parts)


def _positive(kernel: Kernel, location: Location, formula: Expression, known: Mapping[str, Scalar]) -> int:
    value = _at(kernel, location, formula.integer, known)
    if value < 1:
        raise SpecForgeError(Diagnostic("SF304", f"a size of {value}; at least 1 is due", kernel.document.at(location)))
    return value


def _not_negative(kernel: Kernel, location: Location, formula: Expression, known: Mapping[str, Scalar]) -> float:
    value = _at(kernel, location, formula.number, known)
    if value < 0:
        raise SpecForgeError(
            Diagnostic("SF304", f"{value:g}; nothing below zero is meant", kernel.document.at(location))
        )
    return value


def _at(
    kernel: Kernel, location: Location, compute: Callable[[Mapping[str, Scalar]], T], known: Mapping[str, Scalar]
) -> T:
    try:
        return compute(known)
    except ExpressionError as error:
        raise SpecForgeError(expression_diagnostic(error, kernel.document, location)) from None


def _row(parameters: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())
