"""Workload and spec files: benchmarks, their sweeps and their targets."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from specforge.spec.domain import axis_values
from specforge.spec.fields import Day, Formula, Name, Section, Text, Value
from specforge.spec.timing import TimingSection

Row = dict[Name, bool | int | float | str]
Bound = Annotated[
    str | int | float,
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "description": "A quantity with its unit, such as '9 us'; a plain number where the metric has no unit.",
        }
    ),
]
"""Read against the metric's unit once that is known."""


class Baseline(Section):
    """What others reach, and who says so."""

    value: Bound
    source: Text


class KnownMiss(Section):
    """Why a bound is not met yet, and until when that is accepted."""

    reason: Text
    until: Day


class TargetSection(Section):
    """A metric, a bound, and the cases it holds for."""

    metric: str
    at_most: Bound | None = None
    at_least: Bound | None = None
    equals: Bound | None = None
    peer: Name | None = None
    """Which of the kernel's peers a speedup is taken over."""
    when: Formula | None = None
    """Selects cases by parameter values; without it the target holds for every case."""
    level: Literal["required", "warn", "record"] = "required"
    baseline: Baseline | None = None
    known_miss: KnownMiss | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if sum(bound is not None for bound in (self.at_most, self.at_least, self.equals)) != 1:
            raise PydanticCustomError("SF203", "a target has exactly one of at_most, at_least, equals")
        return self


class Exclusion(Section):
    """Cases that are left out, and why."""

    when: Formula
    reason: Text


def _axis(value: object) -> tuple[Any, ...]:
    values = axis_values(value)
    if not values:
        raise PydanticCustomError("SF406", "an axis with no values makes no case")
    if any(not isinstance(item, bool | int | float | str) for item in values):
        raise PydanticCustomError("SF203", "an axis holds plain values")
    if len({(type(item), item) for item in values}) != len(values):
        raise PydanticCustomError("SF406", "a value stands twice on this axis")
    return values


Axis = Annotated[
    tuple[Any, ...],
    BeforeValidator(_axis),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "minItems": 1, "items": {"type": ["integer", "number", "string", "boolean"]}},
                {"type": ["string", "number", "boolean"]},
            ],
            "description": "Values of this axis: a list, a single value, or pow2(a..b).",
        }
    ),
]


class Sweep(Section):
    """The cases of a benchmark: product of `matrix`, `zip` as one axis, `cases` as explicit rows, less `exclude`."""

    matrix: dict[Name, Axis] = Field(default={})
    zip: dict[Name, Axis] = Field(default={})
    cases: list[Row] = Field(default=[])
    exclude: list[Exclusion] = Field(default=[])
    targets: list[TargetSection] = Field(default=[])


class KernelBenchmark(Sweep):
    """A kernel bound to shapes, swept."""

    kernel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")]
    bind: dict[Name, Value] = Field(default={})
    """Parameters that are the same in every case: literals, or `=` and an expression over `model.*`."""
    timing: TimingSection | None = None
    """Over that of the file and of the spec."""
    summary: Text | None = None


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class StepPart(Section):
    """One kernel-sized part of a decode step, per token and whole model."""

    part: Name
    launches: Formula | None = None
    """Launches per token; a part that is fused with another has none of its own."""
    bytes: Formula
    """Least bytes that must move per token for this part; may use `model.*` and the step's own axes."""
    benchmark: Annotated[
        list[Name], BeforeValidator(_listed, json_schema_input_type=Name | list[Name]), Field(min_length=1)
    ] = Field(default=[])
    """The benchmark of this workload whose kernel does this part, or several that do it together, as one for each
    quantisation; none: not covered yet."""
    fused_with: Name | None = None
    """The part of this step whose kernel does this one in the same launch: what covers that covers this."""

    @model_validator(mode="after")
    def _whose(self) -> Self:
        if (self.fused_with is None) == (self.launches is None) or (self.fused_with and self.benchmark):
            message = "a part has `launches`, and perhaps a `benchmark`; or `fused_with`, which has them"
            raise PydanticCustomError("SF203", message)
        return self


class StepBenchmark(Sweep):
    """One decoded token, whole: the parts it is made of, and targets on the whole."""

    step: list[StepPart] = Field(min_length=1)
    summary: Text | None = None


def _kind(value: object) -> str:
    """A benchmark with a `step` is a whole decode step; anything else a kernel's, so that a typo names its own key."""
    if isinstance(value, StepBenchmark) or (isinstance(value, dict) and "step" in value and "kernel" not in value):
        return "StepBenchmark"
    return "KernelBenchmark"


Benchmark = Annotated[
    Annotated[KernelBenchmark, Tag("KernelBenchmark")] | Annotated[StepBenchmark, Tag("StepBenchmark")],
    Discriminator(_kind),
]


class WorkloadFile(Section):
    """Benchmarks without a card: kernels bound to a model's shapes, sweeps, static and portable targets."""

    specforge: Literal[1]
    workload: Name
    summary: Text | None = None
    model: Text | None = None
    """Path of a model file, relative to this one or shipped."""
    timing: TimingSection | None = None
    """How the cases of this file's benchmarks are timed."""
    benchmarks: dict[Name, Benchmark] = Field(min_length=1)


class Narrowing(Section):
    """Cases of a workload's benchmark that this spec leaves out."""

    keep: Formula
    """Only cases for which this holds stay."""
    reason: Text


class SpecFile(Section):
    """A workload, or benchmarks of its own, on one device, with that device's targets."""

    specforge: Literal[1]
    spec: Name
    summary: Text | None = None
    device: Text
    workload: Text | None = None
    model: Text | None = None
    timing: TimingSection | None = None
    """How cases are timed, over what the workload says; a benchmark's own comes last."""
    benchmarks: dict[Name, Benchmark] = Field(default={})
    narrow: dict[Name, Narrowing] = Field(default={})
    targets: dict[Name, list[TargetSection]] = Field(default={})
    """Benchmark name -> targets that hold on this device."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.workload is None and not self.benchmarks:
            raise PydanticCustomError("SF202", "a spec names a `workload`, has `benchmarks` of its own, or both")
        if self.workload is not None and self.model is not None:
            raise PydanticCustomError("SF203", "the model belongs to the workload; name it there")
        return self
