"""Whether a kernel's rendered signatures, its launches and its reference say the same, before anything runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from specforge.diagnostics import Diagnostic, suggest
from specforge.expressions import Scalar
from specforge.kernel.oracle import check_reference
from specforge.kernel.render import Rendered
from specforge.kernel.signature import Argument, Entry, parse_entries
from specforge.kernel.source import blank_comments
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan
from specforge.spec.interface import Kernel

_RANGES = {"int": (-(2**31), 2**31), "unsigned int": (0, 2**32), "long long": (-(2**63), 2**63)}
_WAIT = re.compile(r"\bgrid_wait\s*\(")
_VECTORS = {
    "float": "float{}",
    "__half": "__half{}",
    "__nv_bfloat16": "__nv_bfloat16{}",
    "int": "int{}",
    "unsigned int": "uint{}",
    "signed char": "char{}",
    "unsigned char": "uchar{}",
    "long long": "longlong{}",
}
"""CUDA's vector types of an element type; a pointer to them reads the same tensor several elements at a time."""


def check_agreement(kernel: Kernel, rendered: Rendered, plan: Plan) -> list[Diagnostic]:
    """Every SF504 and SF505 of one rendered variant: signatures against launches and tensors, and the reference."""
    entries = parse_entries(rendered.text)
    found: list[Diagnostic] = []
    for index, launch in enumerate(plan.launches):
        entry = entries.get(launch.entry)
        if entry is None:
            found.append(_missing(kernel, rendered, index, launch, entries))
        else:
            found += _check_launch(kernel, rendered, plan, index, entry)
            if launch.dependent:
                found += _check_dependent(kernel, rendered, plan, index, entry)
    found += _check_use(kernel, rendered, plan, entries)
    found += check_reference(kernel)
    return list(dict.fromkeys(found))


def _missing(
    kernel: Kernel, rendered: Rendered, index: int, launch: LaunchPlan, entries: dict[str, Entry]
) -> Diagnostic:
    where = kernel.document.at(("launches", index, "entry"))
    if entries or launch.entry not in rendered.text:
        hint = suggest(launch.entry, entries)
    else:
        hint = f'declare it `extern "C" __global__ void {launch.entry}(...)`'
    return Diagnostic("SF504", f"the template has no entry {launch.entry!r}", where, launch.entry, hint)


def _check_launch(kernel: Kernel, rendered: Rendered, plan: Plan, index: int, entry: Entry) -> Iterator[Diagnostic]:
    launch = plan.launches[index]
    if len(launch.args) != len(entry.arguments):
        message = f"{entry.name!r} takes {len(entry.arguments)} arguments, the launch passes {len(launch.args)}"
        hint = f"the template has ({', '.join(argument.text for argument in entry.arguments)})"
        yield Diagnostic("SF504", message, kernel.document.at(("launches", index, "args")), None, hint)
        return
    for place, (value, argument) in enumerate(zip(launch.args, entry.arguments, strict=True)):
        problem = (
            _tensor_problem(plan.buffer(value), argument)
            if isinstance(value, str)
            else _scalar_problem(value, argument)
        )
        if problem:
            passed = kernel.file.launches[index].args[place].text
            here = kernel.document.at(("launches", index, "args", place))
            message = f"argument {place + 1} of {entry.name!r} gets {passed!r}: {problem}"
            hint = f"passed at {here.file.name}:{here.line}:{here.column}"
            yield Diagnostic("SF504", message, rendered.position(argument.offset), argument.text, hint)


def _check_dependent(kernel: Kernel, rendered: Rendered, plan: Plan, index: int, entry: Entry) -> Iterator[Diagnostic]:
    """A dependent launch waits somewhere, and lets nobody take what earlier launches write for unchanging."""
    where = kernel.document.at(("launches", index, "dependent"))
    if not _WAIT.search(blank_comments(rendered.text)):
        hint = 'include "dependent.cuh" and call grid_wait() before touching what earlier launches touch'
        yield Diagnostic("SF504", f"the launch of {entry.name!r} is dependent, and nothing waits", where, "true", hint)
    first = max((place for place in range(index) if not plan.launches[place].dependent), default=None)
    # Where all launches up to this one are dependent, what is ahead is the whole group before, of a chain.
    group = plan.launches if first is None else plan.launches[first:index]
    ahead = {value for launch in group for value in launch.args if isinstance(value, str)}
    linked = plan.chain if first is None else {}
    for value, argument in zip(plan.launches[index].args, entry.arguments, strict=False):
        written = value in linked or (value in ahead and plan.buffer(str(value)).role != "in")
        if written and argument.const and "restrict" in argument.text:
            message = f"{value!r} may be read before grid_wait(): `const ... __restrict__` says that nothing changes it"
            yield Diagnostic("SF504", message, rendered.position(argument.offset), argument.text, "drop __restrict__")


def _tensor_problem(buffer: BufferPlan, argument: Argument) -> str | None:
    element = buffer.element.ctype
    const = "const " if buffer.role == "in" else ""
    if argument.pointers != 1:
        return f"a tensor needs a pointer, `{const}{element}*`"
    widths = {element: 1} | {_VECTORS[element].format(width): width for width in (2, 3, 4)}
    if argument.ctype not in widths:
        return (
            f"its elements are {buffer.dtype}: `{const}{element}*` is due, not a pointer to {argument.ctype or 'void'}"
        )
    if math.prod(buffer.stored_shape) % widths[argument.ctype]:
        return f"its {math.prod(buffer.stored_shape)} elements are no whole number of {argument.ctype}"
    if buffer.role == "in" and not argument.const:
        return f"an input is not written: `const {argument.ctype}*` is due"
    return None


def _scalar_problem(value: Scalar, argument: Argument) -> str | None:
    if argument.pointers:
        return "a number, but the argument is a pointer"
    if isinstance(value, float):
        return None if argument.ctype == "float" else f"a float, so `float` is due, not `{argument.ctype}`"
    if argument.ctype not in _RANGES:
        kinds = "a whole number, so `int`, `unsigned` or `long long` is due"
        return f"{kinds}, not `{argument.ctype}`" + (
            " (write 1.0 * (...) for a float)" if argument.ctype == "float" else ""
        )
    low, high = _RANGES[argument.ctype]
    return None if low <= int(value) < high else f"{value} does not fit into `{argument.ctype}`"


def _check_use(kernel: Kernel, rendered: Rendered, plan: Plan, entries: dict[str, Entry]) -> Iterator[Diagnostic]:
    """Every tensor is passed to some launch, and what is not an input may be written by the first that gets it."""
    for buffer in plan.buffers:
        uses = [
            (launch, place)
            for launch in plan.launches
            for place, value in enumerate(launch.args)
            if value == buffer.name
        ]
        if not uses:
            where = kernel.document.at(("tensors", buffer.name), key=True)
            yield Diagnostic("SF504", f"no launch gets tensor {buffer.name!r}", where, None, "pass it, or remove it")
        elif buffer.role == "inout":
            arguments = [
                entries[launch.entry].arguments[place:][:1] for launch, place in uses if launch.entry in entries
            ]
            taken = [argument for found in arguments for argument in found]
            if taken and all(argument.const for argument in taken):
                message = f"{buffer.name!r} is updated in place, and const in every launch that gets it"
                yield Diagnostic("SF504", message, rendered.position(taken[0].offset), taken[0].text, "drop the const")
        elif buffer.role != "in":
            launch, place = uses[0]
            entry = entries.get(launch.entry)
            if entry and place < len(entry.arguments) and entry.arguments[place].const:
                argument = entry.arguments[place]
                kind = "output" if buffer.role == "out" else "scratch tensor"
                message = f"{kind} {buffer.name!r} is const in {entry.name!r}, its first launch: nothing has written it"
                yield Diagnostic("SF504", message, rendered.position(argument.offset), argument.text, "drop the const")
