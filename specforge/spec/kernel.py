"""Kernel files: the interface of a kernel, its launches, its reference and what it may cost and err."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from specforge.expressions import Expression
from specforge.spec.domain import DomainField
from specforge.spec.fields import Day, Formula, Name, Section, Text

Binding = Literal["compile", "launch"]
ProfileName = Literal["quick", "ci", "deep"]
Role = Literal["in", "out", "inout", "scratch"]
Distribution = Literal["normal", "wide", "tiny", "ties", "constant", "spiky"]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


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


class ValueRange(Section):
    """Values with bounds that follow from a case, such as ids, lengths or decays: one of the three."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    between: Annotated[list[Formula], Field(min_length=2, max_length=2)] | None = None
    """The least and the largest value, both included.

    Whole numbers are uniform; others have a uniform logarithm where the least is above 0, and are uniform where not.
    """
    distinct: Formula | None = None
    """How many whole numbers from 0 upward there are to draw from; along the last axis each occurs once at most."""
    permutation: Formula | None = None
    """As `distinct`, and each occurs once at most in the whole tensor."""

    @model_validator(mode="after")
    def _one(self) -> ValueRange:
        if sum(part is not None for part in (self.between, self.distinct, self.permutation)) != 1:
            raise PydanticCustomError("SF203", "one of `between`, `distinct` and `permutation` is due")
        return self

    @property
    def kind(self) -> Literal["between", "distinct", "permutation"]:
        """Which one it is."""
        return "between" if self.between else "distinct" if self.distinct else "permutation"

    def formulas(self) -> list[Expression]:
        """Its bounds in order: two of `between`, one of the others."""
        return self.between or [formula for formula in (self.distinct, self.permutation) if formula]


class Tensor(Section):
    """A buffer, described by axis sizes."""

    shape: Annotated[list[Formula], Field(min_length=1, max_length=8)]
    dtype: Name
    """An element type, or a parameter of type dtype.

    q4_k, q5_k, q6_k, q8_0 and q5_0 are GGUF's blocks, for role `in`: the shape counts elements, the last axis whole
    blocks; the kernel takes `const unsigned char*`; the reference gets float64, decoded exactly.
    """
    role: Role
    """`inout` is updated in place, as a cache or a recurrent state: drawn like an input, judged like an output.

    The reference is given what it held and returns what it must hold, untouched elements included.
    """
    values: Annotated[
        list[Distribution | ValueRange],
        BeforeValidator(_listed, json_schema_input_type=Distribution | ValueRange | list[Distribution | ValueRange]),
        Field(min_length=1),
    ] = Field(default=["normal"])
    """What inputs are drawn from, distributions by name or ranges; the first is the one that is timed."""
    residency: Literal["hot", "cold"] = "hot"
    """Whether a decode step finds it in L2 or must fetch it from memory.

    `hot`, the default, is for activations: the kernel before has just written them, and they are small. Weights and
    caches are `cold`: between two uses of a layer's, all other layers' pass through L2. A cold tensor rotates through
    copies that total several times the card's L2.
    """
    touched: Formula | None = None
    """Bytes of a cold tensor that one launch group surely reads, where it leaves some out: experts nobody is sent to.

    Only these count towards the several times L2 that pass between two uses. Default: all of it.
    """
    rows: list[int] | None = None
    """Axes that name a row of an output; errors are judged and reported row by row. Default: all but the last."""
    summary: Text | None = None

    @property
    def labels(self) -> list[str]:
        """What a row calls each of `values`: the distribution, or the range's kind; `between_2` is the second such."""
        kinds = [entry if isinstance(entry, str) else entry.kind for entry in self.values]
        before = [kinds[:place].count(kind) for place, kind in enumerate(kinds)]
        return [f"{kind}_{many + 1}" if many else kind for kind, many in zip(kinds, before, strict=True)]


class Launch(Section):
    """One kernel launch; launches run in stream order."""

    entry: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    grid: Annotated[list[Formula], Field(min_length=1, max_length=3)]
    block: Annotated[list[Formula], Field(min_length=1, max_length=3)]
    shared_bytes: Formula = Field(default="0", validate_default=True)
    args: Annotated[list[Formula], Field(min_length=1)]
    """Tensor names, or expressions for scalars, in the order of the entry's signature."""
    dependent: bool = False
    """May start before the launch ahead of it has ended, and waits for that in the kernel (`grid_wait`).

    On the first launch it is about the launch group ahead; see `chain`.
    """


class Work(Section):
    """The least that must move through memory and be computed; the roofline follows from it."""

    bytes: Formula
    flops: Formula
    tokens: Formula | None = None
    """Tokens that one launch group serves: what `tokens_per_joule` counts."""


class Emulation(Section):
    """What a case costs on the CPU emulator, roughly; fuzzing draws cases under a cap of it."""

    steps: Formula


class ErrorBound(Section):
    """|got - reference| may be at most relative * |reference| + conditioned * magnitude + absolute, per element.

    Of whole numbers, `conditioned` alone. Their reference returns what is rounded, as float64: half of one is free then
    and either neighbour of a tie right. Or it returns them as int64, with the magnitude 0 where none may differ.
    """

    relative: Formula = Field(default="0", validate_default=True)
    conditioned: Formula = Field(default="0", validate_default=True)
    """Times the array that the reference returns as `<output>_magnitude`: the size of what was summed; of whole numbers
    how far a relative error of one would move what is rounded."""
    absolute: Formula = Field(default="0", validate_default=True)


class Reduction(Section):
    """An axis that the result sums over, where the shapes do not show it or do not say enough.

    The checker leaves a part of it out, as a kernel does that drops a split or an expert: that must be rejected.
    """

    axes: dict[Name, int] = Field(default={})
    """Input tensors and the axis of each along which it lies; without it, every axis whose size the parameter sets."""
    parts: Formula = Field(default="16", validate_default=True)
    """In how many parts a kernel may divide it at most; one of them is left out."""
    granule: Formula = Field(default="1", validate_default=True)
    """Elements that belong together, as those that share a scale or a byte."""
    accumulator: Literal["f32", "f16", "bf16"] = "f32"
    """What sums are promised to be held in; bf16 is tried and must be rejected where it is f32."""
    not_summed: Text | None = None
    """Why nothing is summed along it, although its size is in no output's shape."""


class Waiver(Section):
    """A known wrong result. Only values are waived: never a crash, a race, or memory that is not the kernel's."""

    when: Formula
    """Selects cases by parameters and tunables."""
    reason: Text
    until: Day
    """The last day on which it holds; from the next on the result is wrong."""
    output: Name | None = None
    """Only this output may be wrong; without it, every one."""


def _tolerance(value: object) -> object:
    if isinstance(value, str) and value != "exact":
        raise PydanticCustomError("SF204", "a tolerance is `exact`, or a mapping of relative, conditioned and absolute")
    return value


class Varies(Section):
    """Says that the bits of the result may depend on the order of threads, as with floating-point atomics."""

    reason: Text


class ProfileFigures(Section):
    """What a profile of `check` means for this kernel; a figure that is left out is the profile's own."""

    examples: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Fuzzing examples."""
    seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] | None = None
    """Wall budget of verifying the kernel."""
    shrink_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] | None = None
    """How long a failure may be made smaller, within that budget."""


class EquivalentMutant(Section):
    """A mutant of the template (`specforge mutate`) that no input can tell from the kernel."""

    mutant: Text
    """Its id, as `specforge mutate` prints it."""
    reason: Text


class KernelFile(Section):
    """A kernel: parameters and their domains, tensors, launches, reference, tolerance and work model."""

    specforge: Literal[1]
    kernel: Name
    summary: Text
    template: Text
    reference: Text
    peers: Text | None = None
    """A Python file of other implementations of the same operation, timed beside the kernel."""
    parameters: dict[Name, Parameter] = Field(min_length=1)
    constraints: list[Constraint] = Field(default=[])
    tunables: dict[Name, Tunable] = Field(default={})
    tensors: dict[Name, Tensor] = Field(min_length=1)
    launches: list[Launch] = Field(min_length=1)
    chain: dict[Name, Name] = Field(default={})
    """Inputs and the output that takes each one's place in the next launch group, as from layer to layer of a model.

    The first launch is then `dependent: true` and calls `grid_wait` before it touches what the group ahead does: groups
    overlap, and the metric `overlapped_latency` says how long one takes then.
    """
    specialised: Formula | None = None
    """Over parameters: which cases hit a fast variant. A target on the metric `specialised` demands it of a model's."""
    work: Work
    emulation: Emulation
    tolerance: dict[Name, Annotated[Literal["exact"] | ErrorBound, BeforeValidator(_tolerance)]]
    reductions: dict[Name, Reduction] = Field(default={})
    waivers: list[Waiver] = Field(default=[])
    varies: Varies | None = None
    """Its reason why two schedules may give different bits; both must still be within tolerance."""
    profiles: dict[ProfileName, ProfileFigures] = Field(default={})
    """What `check --profile` does with this kernel."""
    equivalent_mutants: list[EquivalentMutant] = Field(default=[])
    """Left out of the mutation score; an entry that names no mutant, or one that is killed, is an error."""
