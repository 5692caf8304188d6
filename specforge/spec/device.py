"""Device files: the facts of a card, each with its source."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema

from specforge.expressions import Scalar
from specforge.spec.fields import Name, Section, Text, quantity

Certainty = Literal["A", "B", "C"]
"""A: an authoritative source, or measured. B: two independent sources, or one and arithmetic. C: a secondary source."""

T = TypeVar("T")


class Fact(Section, Generic[T]):
    """One fact and where it comes from."""

    model_config = ConfigDict(json_schema_extra={"description": __doc__})

    value: T
    certainty: Certainty
    source: Name
    """An id of this file's `sources`."""
    note: Text | None = None

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """A name in the JSON Schema that says what is stated, whatever pydantic's version."""
        schemas = [item.json_schema or {} for item in params[0].__metadata__ if isinstance(item, WithJsonSchema)]
        title = schemas[0]["title"] if schemas else params[0].__origin__.__name__
        return f"Fact_{title}".replace(" ", "_")


class Match(Section):
    """How a live card is recognised."""

    names: list[Text] = Field(min_length=1)
    """Exact product names as NVML reports them."""
    compute_capability: Annotated[str, StringConstraints(pattern=r"^\d{1,2}\.\d$")]


Architecture = Annotated[str, StringConstraints(pattern=r"^sm_\d{2,3}[af]?$")]
Count = Annotated[int, Field(gt=0)]


class Facts(Section):
    """What SpecForge needs to know of a card. Sizes in bytes, rates per second, all in base units once read."""

    architecture: Fact[Architecture]
    multiprocessors: Fact[Count]
    l2_capacity: Fact[quantity("B")]  # type: ignore[valid-type]  # a type made by a function
    shared_per_multiprocessor: Fact[quantity("B")]  # type: ignore[valid-type]  # a type made by a function
    shared_per_block: Fact[quantity("B")]  # type: ignore[valid-type]  # a type made by a function
    warps_per_multiprocessor: Fact[Count]
    blocks_per_multiprocessor: Fact[Count]
    registers_per_multiprocessor: Fact[Count]
    memory_capacity: Fact[quantity("B")]  # type: ignore[valid-type]  # a type made by a function
    memory_bandwidth: Fact[quantity("B/s")]  # type: ignore[valid-type]  # a type made by a function
    bf16_rate: Fact[quantity("FLOPS")]  # type: ignore[valid-type]  # a type made by a function
    """Dense, f32 accumulation."""
    fp8_rate: Fact[quantity("FLOPS")] | None = None  # type: ignore[valid-type]  # a type made by a function
    fp4_rate: Fact[quantity("FLOPS")] | None = None  # type: ignore[valid-type]  # a type made by a function
    boost_clock: Fact[quantity("Hz")]  # type: ignore[valid-type]  # a type made by a function
    board_power: Fact[quantity("W")]  # type: ignore[valid-type]  # a type made by a function


class DeviceFile(Section):
    """A card: its facts, each with a source, and how to recognise it."""

    specforge: Literal[1]
    device: Name
    name: Text
    sources: dict[Name, Text] = Field(min_length=1)
    match: Match
    facts: Facts

    def names(self) -> dict[str, Scalar]:
        """The facts as expressions see them: `device.multiprocessors` and so on, in base units."""
        found: dict[str, Scalar] = {}
        for key in Facts.model_fields:
            fact = getattr(self.facts, key)
            if fact is not None:
                found[f"device.{key}"] = fact.value
        return found
