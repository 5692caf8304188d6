"""Domains of parameters: a list of values, or an inclusive range written `1..64`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetPydanticSchema, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from specforge.expressions import Scalar

_RANGE = re.compile(r"\s*(\d{1,18})\s*\.\.\s*(\d{1,18})\s*\Z")
_POW2 = re.compile(r"\s*pow2\(\s*(\d{1,18})\s*\.\.\s*(\d{1,18})\s*\)\s*\Z")


@dataclass(frozen=True, slots=True)
class Domain:
    """Either listed values, or every whole number from `low` to `high`."""

    listed: tuple[Scalar, ...] = ()
    low: int = 0
    high: int = 0

    def __contains__(self, value: object) -> bool:
        """Whether the value is one of these, of the same type: 64.0 is no head size."""
        if self.listed:
            return any(value == known and type(value) is type(known) for known in self.listed)
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        """The values as an author would write them."""
        return ", ".join(_plain(value) for value in self.listed) if self.listed else f"{self.low}..{self.high}"

    def edges(self) -> tuple[Scalar, ...]:
        """Every listed value, or both ends of the range."""
        return self.listed or tuple(dict.fromkeys((self.low, self.high)))


def _plain(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _to_domain(value: object) -> Domain:
    if isinstance(value, Domain):
        return value
    if isinstance(value, str) and (found := _RANGE.match(value)):
        low, high = int(found[1]), int(found[2])
        if low > high:
            raise PydanticCustomError("SF203", "a range runs upward: low..high")
        return Domain(low=low, high=high)
    if isinstance(value, str):
        return Domain(listed=tuple(_expand(value)))
    if isinstance(value, list) and value and all(isinstance(item, bool | int | str) for item in value):
        if len({(type(item), item) for item in value}) != len(value):
            raise PydanticCustomError("SF203", "a value stands twice in the domain")
        return Domain(listed=tuple(value))
    raise PydanticCustomError("SF203", 'a domain is a list of values or a range such as "1..64"')


def _expand(text: str) -> Iterator[int]:
    found = _POW2.match(text)
    if not found:
        raise PydanticCustomError("SF203", 'a domain is a list of values, a range "1..64" or "pow2(1..64)"')
    low, high = int(found[1]), int(found[2])
    if low < 1 or low & (low - 1) or high & (high - 1) or low > high:
        raise PydanticCustomError("SF203", "pow2(a..b) runs upward between two powers of two")
    while low <= high:
        yield low
        low *= 2


DomainField = Annotated[
    Any,
    GetPydanticSchema(lambda _type, _handler: core_schema.no_info_plain_validator_function(_to_domain)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^(\d+\.\.\d+|pow2\(\d+\.\.\d+\))$"},
                {"type": "array", "minItems": 1, "items": {"type": ["integer", "string", "boolean"]}},
            ],
            "description": 'Values as a list, a range "1..64", or "pow2(1..64)".',
        }
    ),
]
"""A field that holds a Domain."""


def axis_values(value: object) -> tuple[Scalar, ...]:
    """The values of a sweep axis: a list, a single literal, or `pow2(a..b)` / `a..b` as text."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and (found := _RANGE.match(value)):
        low, high = int(found[1]), int(found[2])
        if high - low >= 10_000 or low > high:
            raise PydanticCustomError("SF406", "a range of at most 10,000 values, running upward, is due")
        return tuple(range(low, high + 1))
    if isinstance(value, str) and value.strip().startswith("pow2("):
        return tuple(_expand(value))
    if isinstance(value, bool | int | float | str):
        return (value,)
    raise PydanticCustomError("SF203", "an axis is a list of values or pow2(a..b)")
