"""The one small expression language: Python's syntax, a whitelist of nodes, bounded evaluation.

Nothing here calls Python's eval: `ast` parses, and a walk over a whitelist of nodes evaluates. Length, depth and
results (64-bit integers, finite floats) are bounded, so an expression from an untrusted file costs microseconds.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from specforge.diagnostics import shorten
from specforge.dtypes import DTYPES, DType

Scalar = int | float | bool | str
"""What an expression may yield."""

MAX_LENGTH = 2000
MAX_DEPTH = 40
_INT_LIMIT = 2**63


class ExpressionError(Exception):
    """A fault in an expression; `offset` counts characters from its start, `code` is a diagnostic code."""

    def __init__(self, code: str, message: str, offset: int = 0, name: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.offset = offset
        self.name = name


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _clamp(x: Scalar, low: Scalar, high: Scalar) -> Scalar:
    return max(low, min(x, high))  # a text beside a number raises TypeError, reported as SF304


def _align_up(x: int, n: int) -> int:
    return -(-x // n) * n


def _log2(x: float) -> float:
    result = math.log2(x)
    return int(result) if result.is_integer() else result


def _dtype(name: str) -> DType:
    if name not in DTYPES:
        raise ValueError(f"{name!r} is no element type; there are {', '.join(DTYPES)}")
    return DTYPES[name]


def _roundoff(dtype: str) -> float:
    return _dtype(dtype).roundoff


def _sizeof(dtype: str) -> int:
    if _dtype(dtype).is_block:
        raise ValueError(f"an element of {dtype} has no size of its own; nbytes({dtype}, count) is that of blocks")
    return _dtype(dtype).size


def _nbytes(dtype: str, count: float) -> int:
    if count < 0 or count != int(count):
        raise ValueError(f"nbytes() takes a whole number of elements, not {count}")
    return _dtype(dtype).nbytes(int(count))


FUNCTIONS: dict[str, tuple[Callable[..., Scalar], int, int]] = {
    "min": (min, 2, 8),
    "max": (max, 2, 8),
    "abs": (abs, 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "log2": (_log2, 1, 1),
    "ceil_div": (_ceil_div, 2, 2),
    "clamp": (_clamp, 3, 3),
    "align_up": (_align_up, 2, 2),
    "roundoff": (_roundoff, 1, 1),
    "sizeof": (_sizeof, 1, 1),
    "nbytes": (_nbytes, 2, 2),
}
"""Function name -> (implementation, fewest arguments, most arguments)."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. Equal texts are equal expressions."""

    text: str

    def __post_init__(self) -> None:
        """Parse, so that no expression exists that is not of the language."""
        _parse(self.text)

    def __str__(self) -> str:
        """The text as it was written."""
        return self.text

    def names(self) -> dict[str, int]:
        """Every name used, dotted ones whole (`model.attention.head_dim`), with the offset of its first use."""
        found: dict[str, int] = {}
        for name, offset in _names(_parse(self.text)):
            found.setdefault(name, offset)
        return {name: offset for name, offset in found.items() if name not in DTYPES}

    def check_names(self, declared: Collection[str]) -> None:
        """Raise ExpressionError (SF303) at the first name that is not in `declared`."""
        for name, offset in self.names().items():
            if name not in declared:
                raise _unknown(name, offset)

    def evaluate(self, values: Mapping[str, Scalar]) -> Scalar:
        """Evaluate with names bound; raises ExpressionError SF303 or SF304 with the offset of the part at fault."""
        return _evaluate(_parse(self.text), values)

    def integer(self, values: Mapping[str, Scalar]) -> int:
        """Evaluate to a whole number."""
        result = self.evaluate(values)
        if isinstance(result, float) and result.is_integer():
            return int(result)
        if isinstance(result, bool) or not isinstance(result, int):
            raise ExpressionError(
                "SF304", f"{shorten(self.text)!r} gives {shorten(repr(result))}; a whole number is due"
            )
        return result

    def number(self, values: Mapping[str, Scalar]) -> float:
        """Evaluate to a number."""
        result = self.evaluate(values)
        if isinstance(result, bool | str):
            raise ExpressionError("SF304", f"{shorten(self.text)!r} gives {shorten(repr(result))}; a number is due")
        return float(result)

    def truth(self, values: Mapping[str, Scalar]) -> bool:
        """Evaluate to true or false; a number is not a truth value here."""
        result = self.evaluate(values)
        if not isinstance(result, bool):
            raise ExpressionError(
                "SF304", f"{shorten(self.text)!r} gives {shorten(repr(result))}; true or false is due (a comparison)"
            )
        return result


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExpressionError("SF305", f"expression of {len(text)} characters; at most {MAX_LENGTH} are allowed")
    for index, character in enumerate(text):
        if not character.isascii() or character == "\\":
            raise ExpressionError("SF301", f"character {character!r} has no place in an expression", index)
    if not text.strip():
        raise ExpressionError("SF301", "empty expression")
    line = text.translate(_ONE_LINE)
    indent = len(line) - len(line.lstrip(" "))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # `1if x else 2` and its like
            tree = ast.parse(line.strip(" "), mode="eval").body
    except SyntaxError as error:
        offset = indent + max(0, (error.offset or len(line.strip(" "))) - 1)
        raise ExpressionError(
            "SF301", f"cannot parse the expression: {error.msg}", min(offset, len(text) - 1)
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("SF305", "the expression is nested too deeply") from None
    for node in ast.walk(tree) if indent else ():
        if isinstance(node, ast.expr):
            node.col_offset += indent
    _check(tree, 0)
    return tree


_ONE_LINE = str.maketrans("\t\n\r\f\v", "     ")
"""Offsets count along one line, however a text was folded."""


def _unknown(name: str, offset: int) -> ExpressionError:
    hint = f"; write {name.capitalize()}" if name in ("true", "false") else ""
    return ExpressionError("SF303", f"unknown name {shorten(name)!r}{hint}", offset, name)


def _check(node: ast.AST, depth: int) -> None:  # noqa: PLR0912 - one case for each kind of node
    """Reject whatever is outside the language, once, at parse time."""
    offset = getattr(node, "col_offset", 0)
    if depth > MAX_DEPTH:
        raise ExpressionError("SF305", f"expression nested deeper than {MAX_DEPTH}", offset)
    children: Iterator[ast.AST]
    match node:
        case ast.Constant(value=bool() | int() | str()):
            children = iter(())
            if isinstance(node.value, int) and abs(node.value) >= _INT_LIMIT:
                raise ExpressionError("SF305", "number beyond 64 bits", offset)
        case ast.Constant(value=float(value)) if math.isfinite(value):
            children = iter(())
        case ast.Constant(value=float()):
            raise ExpressionError("SF305", "number beyond 64 bits", offset)
        case ast.Name() | ast.Attribute():
            _dotted(node)
            children = iter(())
        case ast.BinOp(op=op) if type(op) in _BINARY:
            children = iter((node.left, node.right))
        case ast.UnaryOp(op=op) if type(op) in _UNARY:
            children = iter((node.operand,))
        case ast.BoolOp():
            children = iter(node.values)
        case ast.Compare() if all(type(op) in _COMPARE for op in node.ops):
            children = iter((node.left, *node.comparators))
        case ast.IfExp():
            children = iter((node.test, node.body, node.orelse))
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS:
            _, fewest, most = FUNCTIONS[name]
            if not fewest <= len(node.args) <= most:
                many = f"{fewest}" if fewest == most else f"{fewest} to {most}"
                raise ExpressionError("SF302", f"{name}() takes {many} arguments, not {len(node.args)}", offset)
            children = iter(node.args)
        case ast.Call(func=ast.Name(id=name)):
            raise ExpressionError(
                "SF302", f"no function {shorten(name)!r} here; there are: {', '.join(FUNCTIONS)}", offset, name
            )
        case _:
            raise ExpressionError("SF302", f"{type(node).__name__} is not part of the expression language", offset)
    for child in children:
        _check(child, depth + 1)


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute) and not inner.attr.startswith("_"):
        parts.append(inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name):
        raise ExpressionError("SF302", "only plain dotted names are allowed", node.col_offset)
    return ".".join([inner.id, *reversed(parts)])


def _names(node: ast.AST) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.Name | ast.Attribute):
        yield _dotted(node), node.col_offset
        return
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.Call) and child is node.func):
            yield from _names(child)


def _evaluate(node: ast.expr, values: Mapping[str, Scalar]) -> Scalar:
    try:
        return _bounded(_step(node, values), node)
    except ExpressionError:
        raise
    except ZeroDivisionError:
        raise ExpressionError("SF304", "division by zero", node.col_offset) from None
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ExpressionError("SF304", f"cannot evaluate: {shorten(str(error), 160)}", node.col_offset) from None


def _step(node: ast.expr, values: Mapping[str, Scalar]) -> Any:  # noqa: ANN401 - checked by _bounded
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return _lookup(node, values)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _number(left, values), _number(right, values)
            if isinstance(op, ast.Pow) and (
                abs(b) > 1024 or (isinstance(a, int) and isinstance(b, int) and abs(a) > 1 and b > 63)
            ):
                raise ExpressionError("SF304", f"power {a} ** {b} is out of range", node.col_offset)
            return _BINARY[type(op)](a, b)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _truth(operand, values)
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_number(operand, values))
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_truth(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_truth(part, values) for part in parts)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _compare([left, *comparators], ops, values)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _evaluate(body if _truth(test, values) else orelse, values)
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name][0](*(_argument(argument, values) for argument in args))
    raise ExpressionError("SF302", f"{type(node).__name__} is not part of the expression language", node.col_offset)


def _lookup(node: ast.Name | ast.Attribute, values: Mapping[str, Scalar]) -> Scalar:
    name = _dotted(node)
    if name in values:
        return values[name]
    if name in DTYPES:
        return name
    raise _unknown(name, node.col_offset)


def _compare(operands: list[ast.expr], ops: list[ast.cmpop], values: Mapping[str, Scalar]) -> bool:
    results = [_evaluate(operand, values) for operand in operands]
    for op, a, b, node in zip(ops, results[:-1], results[1:], operands[1:], strict=True):
        if isinstance(a, str) != isinstance(b, str):
            raise ExpressionError(
                "SF304", f"cannot compare {shorten(repr(a))} with {shorten(repr(b))}", node.col_offset
            )
        if not _COMPARE[type(op)](a, b):
            return False
    return True


def _argument(node: ast.expr, values: Mapping[str, Scalar]) -> Scalar:
    value = _evaluate(node, values)
    if isinstance(value, bool):
        raise ExpressionError("SF304", f"{shorten(repr(value))} is not a number", node.col_offset)
    return value


def _number(node: ast.expr, values: Mapping[str, Scalar]) -> int | float:
    value = _evaluate(node, values)
    if isinstance(value, bool | str):
        raise ExpressionError("SF304", f"{shorten(repr(value))} is not a number", node.col_offset)
    return value


def _truth(node: ast.expr, values: Mapping[str, Scalar]) -> bool:
    value = _evaluate(node, values)
    if not isinstance(value, bool):
        raise ExpressionError("SF304", f"{shorten(repr(value))} is neither true nor false", node.col_offset)
    return value


def _bounded(value: Any, node: ast.expr) -> Scalar:  # noqa: ANN401 - this is the check
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and abs(value) < _INT_LIMIT:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ExpressionError("SF304", "the result is beyond 64 bits or not finite", node.col_offset)
