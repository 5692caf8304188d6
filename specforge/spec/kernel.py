"""Kernel files: the interface of a kernel, its launches, its reference and what it may cost and err."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from specforge.spec.domain import DomainField
from specforge.spec.fields import Formula, Name, Section, Text

Binding = Literal["compile", "launch"]
DTypeName = Literal["f32", "f16", "bf16", "i32", "i8", "u8", "u32", "i64"]
Distribution = Literal["normal", "wide", "tiny", "ties", "constant", "spiky"]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Parameter(Section):
    """What a case binds; its domain is what fuzzing draws from."""

    type: Literal["int", "bool", "dtype"]
    bind: Binding
    """`compile` parameters reach the template, `launch` ones only arguments and grids."""
    domain: DomainField
    edges: list[int] = Field(default=[])
    """Values worth drawing often: tile and split boundaries."""
    summary: Text | None = None


class Tunable(Section):
    """A free choice of the author that never changes the result beyond tolerance."""

    bind: Binding
    domain: DomainField
    default: Formula
    """May use parameters and `device.*`."""
    summary: Text | None = None


class Constraint(Section):
    """A relation that every case must satisfy."""

    that: Formula
    reason: Text


class Tensor(Section):
    """A buffer, described by axis sizes."""

    shape: Annotated[list[Formula], Field(min_length=1, max_length=8)]
    dtype: Name
    """An element type, or a parameter of type dtype."""
    role: Literal["in", "out", "scratch"]
    values: Annotated[list[Distribution], BeforeValidator(_listed), Field(min_length=1)] = Field(default=["normal"])
    """Distributions that inputs are drawn from; the first is the one that is timed."""
    residency: Literal["hot", "cold"] = "hot"
    """Whether a decode step finds it in L2 (`hot`) or must fetch it from memory (`cold`)."""
    rows: list[int] | None = None
    """Axes that name a row of an output; errors are judged and reported row by row. Default: all but the last."""
    summary: Text | None = None


class Launch(Section):
    """One kernel launch; launches run in stream order."""

    entry: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    grid: Annotated[list[Formula], Field(min_length=1, max_length=3)]
    block: Annotated[list[Formula], Field(min_length=1, max_length=3)]
    shared_bytes: Formula = Field(default="0", validate_default=True)
    args: Annotated[list[Formula], Field(min_length=1)]
    """Tensor names, or expressions for scalars, in the order of the entry's signature."""


class Work(Section):
    """The least that must move through memory and be computed; the roofline follows from it."""

    bytes: Formula
    flops: Formula


class Emulation(Section):
    """What a case costs on the CPU emulator, roughly; fuzzing draws cases under a cap of it."""

    steps: Formula


class ErrorBound(Section):
    """|got - reference| may be at most relative * |reference| + conditioned * magnitude + absolute, per element."""

    relative: Formula = Field(default="0", validate_default=True)
    conditioned: Formula = Field(default="0", validate_default=True)
    """Times the array that the reference returns as `<output>_magnitude`: the size of what was summed."""
    absolute: Formula = Field(default="0", validate_default=True)


def _tolerance(value: object) -> object:
    if isinstance(value, str) and value != "exact":
        raise PydanticCustomError("SF204", "a tolerance is `exact`, or a mapping of relative, conditioned and absolute")
    return value


class KernelFile(Section):
    """A kernel: parameters and their domains, tensors, launches, reference, tolerance and work model."""

    specforge: Literal[1]
    kernel: Name
    summary: Text
    template: Text
    reference: Text
    parameters: dict[Name, Parameter] = Field(min_length=1)
    constraints: list[Constraint] = Field(default=[])
    tunables: dict[Name, Tunable] = Field(default={})
    tensors: dict[Name, Tensor] = Field(min_length=1)
    launches: list[Launch] = Field(min_length=1)
    work: Work
    emulation: Emulation
    tolerance: dict[Name, Annotated[Literal["exact"] | ErrorBound, BeforeValidator(_tolerance)]]
