"""Calling a kernel's reference: exact float64 inputs in, checked float64 or int64 arrays out."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from specforge.diagnostics import Position, SpecForgeError, fail, shorten, suggest
from specforge.expressions import Scalar
from specforge.spec.geometry import BufferPlan, Plan
from specforge.verify.blocks import Stack, decode
from specforge.verify.pieces import fill

Array = np.ndarray[Any, np.dtype[Any]]
WIDENED_AT_ONCE = 1 << 18
"""Elements that a thread widens at a time. In one go, 311 million of bf16 took 9.9 s, so 2.8 (two processors)."""


def widen(array: Array) -> Array:
    """The same values as float64 (floats) or int64 (integers); always a copy, always exact."""
    wide = np.empty(array.shape, np.int64 if array.dtype.kind in "iu" else np.float64)
    source, target = np.ascontiguousarray(array).reshape(-1), wide.reshape(-1)
    fill(array.size, WIDENED_AT_ONCE, lambda piece: _widen(source[piece], target[piece]))
    return wide


def _widen(stored: Array, wide: Array) -> None:
    if stored.dtype.name == "bfloat16":
        stored = (stored.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # a kernel may leave a signalling NaN
        wide[:] = stored


def read(buffer: BufferPlan, stored: Array) -> Array:
    """What a reference is given of a tensor: its values in its shape, exact; blocks are decoded by gguf.

    Of blocks in three and more axes each matrix when it is asked for: see Stack.
    """
    if not buffer.element.is_block:
        return widen(stored)
    taken: Any = (Stack if len(buffer.shape) > 2 else decode)(stored, buffer.shape, buffer.dtype)
    return taken  # type: ignore[no-any-return]


def call_reference(plan: Plan, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run the reference on the stored inputs: every output and each `<output>_magnitude` that the tolerance needs.

    Raises SpecForgeError SF507 at the reference's own line where it raises, warns of an invalid operation, or returns
    something unusable, and SF505 where it asks for an input that the kernel does not have.
    """
    path = Path(plan.reference)
    function = _load(path, _read(path))
    here = Position(path, function.__code__.co_firstlineno)
    keywords = _keywords(function, plan, inputs, here)
    try:
        # Underflow to zero is ordinary in a softmax; dividing by zero, overflow and NaN are not.
        with np.errstate(divide="raise", over="raise", invalid="raise", under="ignore"):
            returned = function(**keywords)
    except (Exception, SystemExit) as error:
        raise _raised(path, error, here, f"for {_case(plan.parameters)}") from None
    return _check(plan, returned, here)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise fail("SF507", f"cannot read the reference: {error}", Position(path)) from None


@lru_cache(maxsize=64)
def _load(path: Path, text: str) -> FunctionType:
    """Execute the file as a module of its own, outside every package; nothing is written beside it."""
    module = ModuleType(f"reference_{path.parent.name}")
    module.__file__ = str(path)
    try:
        code: CodeType = compile(text, str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except SyntaxError as error:
        raise fail(
            "SF507",
            f"the reference is not valid Python: {error.msg}",
            Position(path, error.lineno or 1, error.offset or 1),
        ) from None
    except Exception as error:
        raise _raised(path, error, Position(path), "on import") from None
    function = getattr(module, "reference", None)
    if not inspect.isfunction(function):
        raise fail(
            "SF505",
            "the file defines no function `reference`",
            Position(path),
            hint="def reference(*, ...) -> dict[str, np.ndarray]",
        )
    return function


def _keywords(function: FunctionType, plan: Plan, inputs: Mapping[str, Array], here: Position) -> dict[str, object]:
    """The arguments that the function names; all of them where it takes **anything."""
    offered: dict[str, Array | Scalar] = {
        buffer.name: inputs[buffer.name] for buffer in plan.buffers if buffer.is_given
    }
    offered |= plan.parameters
    signature = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature):
        wanted = list(offered)
    else:
        wanted = [
            parameter.name
            for parameter in signature
            if parameter.name in offered or parameter.default is parameter.empty
        ]
    found: dict[str, object] = {}
    for name in wanted:
        if name not in offered:
            raise fail(
                "SF505",
                f"the reference asks for {name!r}, which is neither an input nor a parameter",
                here,
                value=name,
                hint=suggest(name, offered),
            )
        value = offered[name]
        found[name] = read(plan.buffer(name), value) if isinstance(value, np.ndarray) else value
    return found


def _raised(path: Path, error: Exception | SystemExit, here: Position, when: str) -> SpecForgeError:
    """The diagnostic for an exception: the deepest line of the reference that was running."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    position = Position(path, next((line for line in reversed(lines) if line), here.line))
    return fail("SF507", f"the reference raised {type(error).__name__} {when}: {shorten(str(error), 300)}", position)


def _check(plan: Plan, returned: object, here: Position) -> dict[str, Array]:
    if not isinstance(returned, dict):
        raise fail("SF507", f"the reference returned a {type(returned).__name__}; a dict of arrays is due", here)
    outputs = {buffer.name: buffer for buffer in plan.buffers if buffer.is_judged}
    magnitudes = {f"{name}_magnitude": buffer for name, buffer in outputs.items()}
    needed = [*outputs, *(f"{name}_magnitude" for name in outputs if plan.tolerances[name].conditioned)]
    for name in needed:
        if name not in returned:
            raise fail(
                "SF507",
                f"the reference does not return {name!r}",
                here,
                hint=f"it returns: {', '.join(map(str, returned)) or 'nothing'}",
            )
    for name in returned:
        if name not in outputs and name not in magnitudes:
            raise fail(
                "SF507",
                f"the reference returns {name!r}, which is no output",
                here,
                value=name,
                hint=suggest(str(name), [*outputs, *magnitudes]),
            )
    found = {name: _output(plan, buffer, returned[name], here) for name, buffer in outputs.items()}
    for name, buffer in magnitudes.items():
        if name in needed:
            found[name] = _float_array(plan, name, buffer, returned[name], here)
            if (found[name] < 0).any():
                raise fail("SF507", f"{name!r} holds negative values; it is a size", here)
    return found


def _output(plan: Plan, buffer: BufferPlan, value: object, here: Position) -> Array:
    if buffer.element.is_float:
        return _float_array(plan, buffer.name, buffer, value, here)
    array, exact = _shaped(plan, buffer.name, buffer, value, here), plan.tolerances[buffer.name].exact
    rounded = array.dtype.kind == "f" and not exact
    if rounded:
        array = _float_array(plan, buffer.name, buffer, array, here)
    elif array.dtype.kind not in "iub":
        due = "whole numbers (int64)" if exact else "numbers (int64, or float64 to be rounded)"
        raise fail("SF507", f"the reference returns {buffer.name!r} as {array.dtype}; {buffer.dtype} needs {due}", here)
    info = np.iinfo(buffer.element.numpy().name)
    ends = [int(np.rint(end)) if rounded else int(end) for end in (array.min(), array.max())] if array.size else []
    if not all(info.min <= end <= info.max for end in ends):
        raise fail("SF507", f"the reference returns values for {buffer.name!r} that {buffer.dtype} cannot hold", here)
    return array if rounded else array.astype(np.int64, copy=False)


def _float_array(plan: Plan, name: str, buffer: BufferPlan, value: object, here: Position) -> Array:
    array = _shaped(plan, name, buffer, value, here)
    if array.dtype.kind == "f" and array.dtype != np.float64:
        raise fail("SF507", f"the reference returns {name!r} as {array.dtype}; it computes in float64", here)
    if array.dtype.kind not in "fiub":
        raise fail("SF507", f"the reference returns {name!r} as {array.dtype}; float64 is due", here)
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        place = tuple(int(axis) for axis in np.argwhere(~np.isfinite(array))[0])
        where = f"{name}[{', '.join(map(str, place))}]"
        raise fail("SF507", f"the reference returns {array[place]} at {where} for {_case(plan.parameters)}", here)
    return array


def _shaped(plan: Plan, name: str, buffer: BufferPlan, value: object, here: Position) -> Array:
    array = np.asarray(value)
    if array.shape != buffer.shape:
        message = f"the reference returns {name!r} of shape {array.shape}; {buffer.shape} is due"
        raise fail("SF507", f"{message} for {_case(plan.parameters)}", here)
    return array


def _case(parameters: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())
