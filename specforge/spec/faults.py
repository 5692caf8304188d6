"""pydantic's errors as diagnostics: positioned, in words for people who write YAML, with the nearest valid name."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from specforge.diagnostics import Diagnostic, shorten, suggest
from specforge.spec.document import Document, Location

_DUE = {
    "bool_type": "true or false",
    "date_type": "a date",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "a text",
    "tuple_type": "a list",
}
"""pydantic's kind of error -> what would be right."""

_FORMS = {
    r"^[a-z][a-z0-9_]{0,63}$": "a name is due: lower-case letters, digits and underscores, a letter first",
    r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$": "a kernel is named `family/name`, in lower case",
    r"^sm_\d{2,3}[af]?$": "an architecture such as sm_120 is due",
    r"^\d{1,2}\.\d$": "a compute capability such as '12.0' is due, in quotes",
    r"^[0-9a-f]{64}$": "a SHA-256 is due: 64 digits from 0 to f",
}


def diagnostics_of(document: Document, model: type[BaseModel], error: ValidationError) -> list[Diagnostic]:
    """One diagnostic for each fault; what the members of a union complain of at one place is said once."""
    errors = error.errors(include_url=False)
    places = [_real_location(document, item["loc"]) for item in errors]
    found: dict[tuple[str, Location], Diagnostic] = {}
    due: dict[Location, list[str]] = {}
    for item, place in zip(errors, places, strict=True):
        kind = item["type"]
        if kind in (*_DUE, "literal_error") and _outdone(item, place, errors, places):
            continue
        key = ("type" if kind in _DUE else kind, place)
        if kind in ("missing", "extra_forbidden"):
            key = (str(item["loc"][-1]), place)
        if kind in _DUE:
            due.setdefault(place, []).append(_DUE[kind])
        found.setdefault(key, _diagnostic(document, model, item, place))
    for place, names in due.items():
        first = found["type", place]
        several = [name for name in dict.fromkeys(names) if name != "a whole number" or "a number" not in names]
        listed = ", ".join(several[:-1]) + " or " + several[-1] if len(several) > 1 else several[0]
        found["type", place] = Diagnostic("SF203", f"{listed} is due", first.position, first.value)
    return list(dict.fromkeys(found.values()))


def _outdone(error: ErrorDetails, place: Location, errors: list[ErrorDetails], places: list[Location]) -> bool:
    """Whether another member of a union got further than this one, or says more of what is due."""
    for other, there in zip(errors, places, strict=True):
        deeper = there[: len(place)] == place and (len(there) > len(place) or other["type"] == "missing")
        if deeper or (there == place and other["type"] == "literal_error" != error["type"]):
            return True
    return False


def _diagnostic(document: Document, model: type[BaseModel], error: ErrorDetails, location: Location) -> Diagnostic:
    kind, message, shown = error["type"], error["msg"], error["input"]
    last = str(error["loc"][-1]) if error["loc"] else ""
    context = error.get("ctx", {})
    value = shorten(shown) if not isinstance(shown, dict | list) else None
    position = document.at(location, key=last == "[key]")
    if kind == "extra_forbidden":
        hint = suggest(last, _fields_at(model, error["loc"][:-1]))
        return Diagnostic("SF201", f"unknown key {last!r}", document.at(location, key=True), None, hint)
    if kind == "missing":
        return Diagnostic("SF202", f"missing key {last!r}", document.at(location, key=bool(location)))
    if kind == "literal_error":
        expected = str(context.get("expected", "")).replace(" or ", ", ").split(",")
        hint = suggest(str(shown), [name.strip("'\" ") for name in expected])
        return Diagnostic("SF204", "not one of the allowed values", position, value, hint)
    if kind.startswith("SF"):
        if "offset" in context:
            position = document.inside(location, int(context["offset"]))
        return Diagnostic(kind, message, position, value)
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        message = _FORMS.get(pattern, f"a text of the form {pattern} is due")
    return Diagnostic("SF203", message[:1].lower() + message[1:], position, value)


def _real_location(document: Document, loc: tuple[str | int, ...]) -> Location:
    """Drop the tags that unions put into pydantic's location: keep what exists in the document."""
    node: Any = document.data
    kept: list[str | int] = []
    for part in loc:
        inside = (isinstance(node, dict) and part in node) or (isinstance(part, int) and part < _length(node))
        if inside:
            node = node[part]
            kept.append(part)
    return tuple(kept)


def _length(node: object) -> int:
    return len(node) if isinstance(node, list) else 0


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Names of the keys that the section at `loc` knows, by walking the model's annotations."""
    current: Any = model
    for part in loc:
        current = _descend(current, part)
    names: list[str] = []
    for candidate in [current, *typing.get_args(current)]:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            names += candidate.model_fields
    return names


def _descend(current: Any, part: str | int) -> Any:  # noqa: ANN401 - annotations
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
    if typing.get_origin(annotation) is typing.Annotated:
        return _strip(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return _strip(members[0])
    return annotation
