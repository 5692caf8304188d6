"""The field types of SpecForge's files: expressions, literals, domains, quantities; and turning pydantic's errors into diagnostics."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetPydanticSchema,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, shorten, suggest
from specforge.expressions import Expression, ExpressionError
from specforge.spec.document import Document
from specforge.units import QuantityError, parse_quantity

FORMAT_VERSION = 1

Literal_ = bool | int | float | str
"""A literal value as YAML gives it."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""An identifier: lower case, digits and underscores."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]
"""Prose for people; not empty."""


class Section(BaseModel):
    """Any section of a file: frozen, unknown keys forbidden, no silent conversion of types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, arbitrary_types_allowed=True
    )


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
        WithJsonSchema({"type": "string", "description": f"A quantity such as {_example(unit)}."}),
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
        raise SpecForgeError(*_diagnostics(document, model, error.errors(include_url=False))) from None


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


def _diagnostics(document: Document, model: type[Section], errors: list[ErrorDetails]) -> list[Diagnostic]:
    found = [_diagnostic(document, model, error) for error in errors]
    return list(dict.fromkeys(found))


def _diagnostic(document: Document, model: type[Section], error: ErrorDetails) -> Diagnostic:
    location = _real_location(document, error["loc"])
    kind, message, shown = error["type"], error["msg"], error["input"]
    position = document.at(location)
    value: str | None = shorten(shown) if not isinstance(shown, dict | list) else None
    hint: str | None = None
    if kind == "extra_forbidden":
        position = document.at(location, key=True)
        code, message, value = "SF201", f"unknown key {str(location[-1])!r}", None
        hint = suggest(str(location[-1]), _fields_at(model, error["loc"][:-1]))
    elif kind == "missing":
        code, message, value = "SF202", f"missing key {str(error['loc'][-1])!r}", None
        where = location[:-1] if location and location[-1] == error["loc"][-1] else location
        position = document.at(where, key=bool(where))
    elif kind == "literal_error":
        code = "SF204"
        expected = str(error.get("ctx", {}).get("expected", ""))
        message, hint = (
            "not one of the allowed values",
            suggest(str(shown), [name.strip("'\" ") for name in expected.replace(" or ", ", ").split(",")]),
        )
    elif kind.startswith("SF"):
        code = kind
        offset = error.get("ctx", {}).get("offset", 0)
        position = Position(position.file, position.line, position.column + int(offset))
    else:
        code = "SF203"
        message = message[:1].lower() + message[1:]
    return Diagnostic(code, message, position, value, hint)


def _real_location(document: Document, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Drop the tags that unions put into pydantic's location: keep what exists in the document."""
    node: Any = document.data
    kept: list[str | int] = []
    for part in loc:
        if (isinstance(node, dict) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        ):
            node = node[part]
            kept.append(part)
    return tuple(kept)


def _fields_at(model: type[Section], loc: tuple[str | int, ...]) -> list[str]:
    """Names of the keys that the section at `loc` knows, by walking the model's annotations."""
    import typing

    current: Any = model
    for part in loc:
        current = _descend(current, part)
    names: list[str] = []
    for candidate in [current, *typing.get_args(current)]:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            names += candidate.model_fields
    return names


def _descend(current: Any, part: str | int) -> Any:  # noqa: ANN401 - annotations
    import typing

    if isinstance(current, type) and issubclass(current, BaseModel):
        field = current.model_fields.get(str(part))
        return _strip(field.annotation) if field else current
    arguments = [_strip(argument) for argument in typing.get_args(current) if argument is not type(None)]
    origin = typing.get_origin(current)
    if origin is dict and len(arguments) == 2:
        return arguments[1]
    if origin in (list, tuple) and arguments:
        return arguments[0]
    for argument in arguments:  # a union: its tag, or the member that has the key
        if isinstance(argument, type) and argument.__name__ == part:
            return argument
    return arguments[0] if len(arguments) == 1 else current


def _strip(annotation: Any) -> Any:  # noqa: ANN401 - annotations
    import types
    import typing

    if typing.get_origin(annotation) is typing.Annotated:
        return _strip(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return _strip(members[0])
    return annotation
