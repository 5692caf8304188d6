"""Model files: the shapes of a language model and the sizes derived from them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from specforge.expressions import Scalar
from specforge.spec.fields import Formula, Name, Section, Text

Group = dict[Name, bool | int | float | str]
"""One group of shapes: literals, with `source` (an id of `sources`) and `certainty` (A, B or C) among them."""


class Derived(Section):
    """A size computed from the shapes."""

    value: Formula
    """May use `group.key` of the shapes and the names derived before it."""
    unit: Literal["B", "1"]
    summary: Text


class Synthetic(Section):
    """Weights drawn from a named generator and a seed."""

    generator: Literal["normal", "wide", "tiny"]
    """A distribution of `verify/values.py`."""
    seed: Annotated[int, Field(ge=0)]


class Weights(Section):
    """Either a file pinned by its hash, or synthetic ones; never an unnamed download."""

    file: Text | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    synthetic: Synthetic | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        pinned = self.file is not None and self.sha256 is not None
        if (self.file is None) != (self.sha256 is None) or pinned == (self.synthetic is not None):
            raise PydanticCustomError("SF203", "weights are either `file` with `sha256`, or `synthetic`")
        return self


class ModelFile(Section):
    """A language model: shapes with their sources, derived sizes, pinned weights."""

    specforge: Literal[1]
    model: Name
    name: Text
    summary: Text
    sources: dict[Name, Text] = Field(min_length=1)
    quantisation: Literal["q4_k_m", "bf16"]
    weights: Weights
    shapes: dict[Name, Group] = Field(min_length=1)
    derived: dict[Name, Derived]

    def shape_names(self) -> dict[str, Scalar]:
        """`group.key` -> literal, without the bookkeeping keys."""
        return {
            f"{group}.{key}": value
            for group, values in self.shapes.items()
            for key, value in values.items()
            if key not in ("source", "certainty")
        }
