"""Reading an example back from its YAML row, as `--case` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail, shorten, suggest
from specforge.expressions import ExpressionError, Scalar
from specforge.spec.interface import Kernel
from specforge.spec.kernel import Distribution
from specforge.verify.example import RESERVED, Example

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap

DISTRIBUTIONS: tuple[str, ...] = get_args(Distribution)
LIMITS = {"seed": 2**63 - 1, "schedule": 2**32 - 1, "offset": 240}
"""The largest value of each number of a row; the least is 0."""


CASE = Position(Path("--case"))


def parse_row(text: str, kernel: Kernel, source: Position = CASE) -> Example:
    """Read a row such as `{batch: 1, context: 17, dtype: bf16, seed: 3}`, which begins at `source`.

    Every parameter is required; tunables, `values`, `seed`, `schedule` and `offset` have defaults. All faults are
    raised together, each with its column and the nearest valid name.
    """
    row = _parse(text, source)
    found: list[Diagnostic] = []
    given, places = _split(row, source)
    parameters = _chosen(kernel.file.parameters, given, places, found)
    tunables = _chosen(kernel.file.tunables, given, places, found)
    known = [*kernel.file.parameters, *kernel.file.tunables]
    for name in (name for name in given if name not in known):
        hint = suggest(name, [*known, *RESERVED[1:]])
        message = f"{kernel.identity} has no parameter {name!r}"
        found.append(Diagnostic("SF404", message, places[name], name, hint))
    missing = [name for name in kernel.file.parameters if name not in given]
    if missing:
        found.append(
            Diagnostic(
                "SF403",
                f"the case leaves {', '.join(missing)} unbound",
                source,
                hint="a case binds every parameter of the kernel",
            )
        )
    values = _values(kernel, row, source, found)
    numbers = {key: _number(row, key, source, found) for key in LIMITS}
    if found:
        raise SpecForgeError(*found)
    _check_constraints(kernel, parameters, source, text)
    return Example(parameters, tunables, values, **numbers)


def _parse(text: str, source: Position) -> CommentedMap:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        row = YAML(typ="rt").load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark = (error.problem_mark or error.context_mark) if isinstance(error, MarkedYAMLError) else None
        position = _moved(source, mark.line, mark.column) if mark else source
        raise fail(
            "SF101", "the case is not valid YAML", position, value=text, hint="write it like {batch: 1, context: 17}"
        ) from None
    if "&" in text or "*" in text or "<<" in text:
        raise fail("SF105", "anchors, aliases and merge keys are not used here", source, value=text)
    if not isinstance(row, CommentedMap):
        raise fail(
            "SF106",
            "a case is a mapping of parameters to values",
            source,
            value=text,
            hint="write it like {batch: 1, context: 17}",
        )
    return row


def _at(node: Any, key: object, source: Position) -> Position:  # noqa: ANN401 - ruamel's mapping, or one inside it
    return _moved(source, *node.lc.key(key))


def _moved(start: Position, line: int, column: int) -> Position:
    """A place in the row, counted from 0, as a place in its file."""
    return Position(start.file, start.line + line, column + (start.column if line == 0 else 1))


def _split(row: CommentedMap, source: Position) -> tuple[dict[str, Any], dict[str, Position]]:
    """Parameters and tunables, whether they stand at the top or under `parameters`."""
    nested = row.get("parameters", {})
    if not isinstance(nested, Mapping):
        raise fail(
            "SF203", "`parameters` is a mapping of names to values", _at(row, "parameters", source), value=nested
        )
    given = {str(name): value for name, value in row.items() if name not in RESERVED}
    places = {str(name): _at(row, name, source) for name in row if name not in RESERVED}
    for name, value in nested.items():
        if str(name) in given:
            raise fail("SF404", f"{name!r} stands twice in the row", _at(nested, name, source), value=value)
        given[str(name)] = value
        places[str(name)] = _at(nested, name, source)
    return given, places


def _chosen(
    declared: Mapping[str, Any], given: Mapping[str, Any], places: Mapping[str, Position], found: list[Diagnostic]
) -> dict[str, Scalar]:
    """The values of the declared names, in the kernel's order, each within its domain."""
    chosen: dict[str, Scalar] = {}
    for name, declaration in declared.items():
        if name not in given:
            continue
        value = _plain(given[name])
        if value is None or value not in declaration.domain:
            hint = suggest(str(given[name]), map(str, declaration.domain.listed)) if declaration.domain.listed else None
            found.append(
                Diagnostic(
                    "SF405",
                    f"{name} is outside its domain {declaration.domain}",
                    places[name],
                    shorten(given[name]),
                    hint,
                )
            )
        else:
            chosen[name] = value
    return chosen


def _plain(value: object) -> Scalar | None:
    match value:
        case bool():
            return value
        case int():
            return int(value)
        case str():
            return str(value)
    return None


def _values(kernel: Kernel, row: CommentedMap, source: Position, found: list[Diagnostic]) -> dict[str, str]:
    given = row.get("values", {})
    if not isinstance(given, Mapping):
        found.append(
            Diagnostic(
                "SF203",
                "`values` is a mapping of input tensors to distributions",
                _at(row, "values", source),
                shorten(given),
            )
        )
        return {}
    chosen: dict[str, str] = {}
    for name, value in given.items():
        here = _at(given, name, source)
        if name not in kernel.inputs():
            found.append(
                Diagnostic(
                    "SF404",
                    f"{kernel.identity} has no input {str(name)!r}",
                    here,
                    str(name),
                    suggest(str(name), kernel.inputs()),
                )
            )
            continue
        listed = kernel.file.tensors[str(name)].labels
        known = list(dict.fromkeys([*listed, *DISTRIBUTIONS]))
        if value not in known:
            hint = suggest(str(value), known)
            found.append(Diagnostic("SF204", "no such distribution of values", here, shorten(value), hint))
        elif value != listed[0]:
            chosen[str(name)] = str(value)
    return {name: chosen[name] for name in kernel.inputs() if name in chosen}


def _number(row: CommentedMap, key: str, source: Position, found: list[Diagnostic]) -> int:
    value = row.get(key, 0)
    step = 16 if key == "offset" else 1
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LIMITS[key] or value % step:
        multiple = "a multiple of 16" if step > 1 else "a whole number"
        found.append(
            Diagnostic("SF203", f"`{key}` is {multiple} from 0 to {LIMITS[key]}", _at(row, key, source), shorten(value))
        )
        return 0
    return int(value)


def _check_constraints(kernel: Kernel, parameters: Mapping[str, Scalar], source: Position, text: str) -> None:
    for constraint in kernel.file.constraints:
        try:
            holds = constraint.that.truth(parameters)
        except ExpressionError as error:
            raise fail(error.code, error.message, source, value=constraint.that.text) from None
        if not holds:
            raise fail("SF409", f"the case violates `{constraint.that}`: {constraint.reason}", source, value=text)
