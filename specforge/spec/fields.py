"""The field types of SpecForge's files: expressions, literals, quantities, dates; and reading a file into its model."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    GetPydanticSchema,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

from specforge.diagnostics import Diagnostic, SpecForgeError, shorten
from specforge.expressions import Expression, ExpressionError
from specforge.spec.described import Described
from specforge.spec.document import Document
from specforge.spec.faults import diagnostics_of
from specforge.units import UNITS, QuantityError, parse_quantity

FORMAT_VERSION = 1

Literal_ = bool | int | float | str
"""A literal value as YAML gives it."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""An identifier: lower case, digits and underscores."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]
"""Prose for people; not empty."""


class Section(Described):
    """Any section of a file: frozen, unknown keys forbidden, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, defer_build=True)


def _to_expression(value: object) -> Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PydanticCustomError("SF203", "an expression or a number is due")
    try:
        return Expression(str(value))
    except ExpressionError as error:
        raise PydanticCustomError(error.code, "{message}", {"message": error.message, "offset": error.offset}) from None


_EXPRESSION_SCHEMA = {
    "anyOf": [{"type": "string", "maxLength": 2000}, {"type": "number"}],
    "description": "An expression.",
}

Formula = Annotated[
    Expression,
    GetPydanticSchema(lambda _type, _handler: core_schema.no_info_plain_validator_function(_to_expression)),
    WithJsonSchema(_EXPRESSION_SCHEMA),
]
"""A field that only computes."""


def _to_value(value: object) -> Expression | Literal_:
    if isinstance(value, str) and value.startswith("="):
        try:
            return Expression(value[1:])
        except ExpressionError as error:
            raise PydanticCustomError(
                error.code, "{message}", {"message": error.message, "offset": error.offset + 1}
            ) from None
    if isinstance(value, Expression | bool | int | float | str):
        return value
    raise PydanticCustomError("SF203", "a literal, or an expression that starts with '=', is due")


Value = Annotated[
    Any,
    GetPydanticSchema(lambda _type, _handler: core_schema.no_info_plain_validator_function(_to_value)),
    WithJsonSchema(
        {"type": ["string", "number", "boolean"], "description": "A literal, or an expression that starts with `=`."}
    ),
]
"""A field that takes a literal or, after `=`, an expression."""


@cache
def quantity(unit: str) -> Any:  # noqa: ANN401 - an Annotated type
    """The type of a field that holds a quantity of this unit; the value is in base units."""

    def convert(value: object) -> float:
        if not isinstance(value, str):
            raise PydanticCustomError(
                "SF205", "a quantity with its unit is due, such as {example}", {"example": _example(unit)}
            )
        try:
            result = parse_quantity(value, unit)
        except QuantityError as error:
            raise PydanticCustomError("SF205", "{message}", {"message": str(error)}) from None
        if result <= 0:
            raise PydanticCustomError("SF203", "a quantity above zero is due")
        return result

    return Annotated[
        float,
        BeforeValidator(convert),
        WithJsonSchema(
            {"type": "string", "title": UNITS[unit], "description": f"A quantity such as {_example(unit)}."}
        ),
    ]


def _example(unit: str) -> str:
    return {
        "B": "'96 MiB'",
        "B/s": "'1792 GB/s'",
        "Hz": "'2407 MHz'",
        "W": "'575 W'",
        "FLOPS": "'209.5 TFLOPS'",
        "s": "'12.5 us'",
    }.get(unit, f"'1 {unit}'")


def _to_date(value: object) -> date:
    if isinstance(value, date):
        return value
    raise PydanticCustomError("SF203", "a date is due, written 2027-02-01")


Day = Annotated[date, BeforeValidator(_to_date)]
"""A calendar day, written as YAML's own date."""

Model = TypeVar("Model", bound=Section)


def validate(document: Document, model: type[Model]) -> Model:
    """Build a model from a document; every fault becomes a positioned diagnostic, all of them in one SpecForgeError."""
    check_version(document)
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise SpecForgeError(*diagnostics_of(document, model, error)) from None


def check_version(document: Document) -> None:
    """Refuse a file of a version that this reader does not know, before its other keys confuse anybody."""
    version = document.data.get("specforge")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise SpecForgeError(
            Diagnostic(
                "SF107",
                "no format version that this SpecForge reads",
                document.at(("specforge",)),
                None if version is None else shorten(version),
                f"start the file with `specforge: {FORMAT_VERSION}`",
            )
        )
