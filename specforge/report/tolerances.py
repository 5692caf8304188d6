"""The tolerances of a case in words and numbers: each formula, what its terms come to, and what it was tried on."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from specforge.expressions import Expression, ExpressionError, Scalar
from specforge.spec.geometry import Plan
from specforge.spec.interface import Kernel
from specforge.spec.kernel import ErrorBound
from specforge.units import format_quantity
from specforge.verify.example import Example
from specforge.verify.tolerance import Allowance, Spread, allowances

if TYPE_CHECKING:
    from specforge.verify.trial import Trial

DRAWN = 256 << 20
"""Bytes of inputs up to which a case's numbers are drawn."""
TRIED = 8 << 20
"""Bytes of inputs up to which corruptions are tried: that calls the reference some ten times."""
_TIMES = {"relative": "|reference|", "conditioned": "magnitude", "absolute": "1"}


def tolerance_lines(kernel: Kernel, case: Plan, seed: int = 0) -> Iterator[str]:
    """Every output's tolerance with its numbers for a case whose inputs are drawn; indented by two."""
    size = sum(buffer.nbytes for buffer in case.buffers if buffer.is_given)
    example = Example(dict(case.parameters), seed=seed)
    drawn = {found.output: found for found in allowances(case, example)} if size <= DRAWN else {}
    for name, bound in kernel.file.tolerance.items():
        kind = "" if isinstance(bound, ErrorBound) else ": exact"
        yield f"  tolerance of {name}{kind}   from {kernel.document.at(('tolerance', name), key=True)}"
        buffer = case.buffer(name)
        rows = ", ".join(buffer.axes[axis] for axis in buffer.rows) or "the whole output"
        yield f"    judged element by element; a row is {rows}; the worst element is reported by its axes"
        if not isinstance(bound, ErrorBound):
            yield "    every element equal; among equals the order is the reference's own (first place first)"
            continue
        yield from _formulas(kernel, case, name, bound)
        if name in drawn:
            yield from _numbers(drawn[name])
    if not drawn and size > DRAWN:
        yield f"  (inputs of {format_quantity(size, 'B')} are not drawn here: ask for a smaller case)"
    yield from _trials(kernel, case, example, size)
    for index, waiver in enumerate(kernel.file.waivers):
        where = kernel.document.at(("waivers", index))
        yield f"  waived until {waiver.until} where {waiver.when}: {waiver.reason}   from {where}"


def _formulas(kernel: Kernel, case: Plan, name: str, bound: ErrorBound) -> Iterator[str]:
    known = {**case.parameters, **case.tunables}
    for key in ("relative", "conditioned", "absolute"):
        formula: Expression = getattr(bound, key)
        value = getattr(case.tolerances[name], key)
        if not value:
            continue
        yield f"    {key} {value:.3g} x {_TIMES[key]}   from {kernel.document.at(('tolerance', name, key))}"
        if formula.text.strip() != f"{value:.3g}":
            yield f"      {formula}"
            yield f"      = {evaluated(formula, known)}"
    if case.tolerances[name].conditioned:
        yield f"    the magnitude is what the reference returns as {name}_magnitude: {kernel.reference}"


def evaluated(formula: Expression, known: Mapping[str, Scalar]) -> str:
    """A formula with its sums and products left standing, and the number in the place of everything in them."""

    def show(node: ast.expr) -> str:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
            sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(node.op)]
            sides = [show(side) for side in (node.left, node.right)]
            if sign == "*":
                sums = [
                    isinstance(side, ast.BinOp) and isinstance(side.op, ast.Add | ast.Sub)
                    for side in (node.left, node.right)
                ]
                sides = [f"({side})" if is_sum else side for side, is_sum in zip(sides, sums, strict=True)]
            return f"{sides[0]} {sign} {sides[1]}"
        try:
            value = Expression(ast.unparse(node)).evaluate(known)
        except ExpressionError:
            return ast.unparse(node)
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return show(ast.parse(formula.text.strip(), mode="eval").body)


def _numbers(found: Allowance) -> Iterator[str]:
    from tabulate import tabulate

    def row(label: str, spread: Spread, times: Spread | None) -> tuple[str, ...]:
        share = f"{100 * spread.median / found.size.median:.3g} %" if found.size.median else ""
        multiplied = (f"{times.median:.3g}", f"{times.largest:.3g}") if times else ("", "")
        return label, *multiplied, f"{spread.median:.3g}", f"{spread.largest:.3g}", share

    rows = [row(f"{key} x {_TIMES[key]}", spread, found.multiplied[key]) for key, spread in found.terms.items()]
    rows.append(row("together", found.whole, None))
    headers = ("on drawn data", "of it: median", "largest", "allowed: median", "largest", "of a typical value")
    table = tabulate(rows, headers=headers, tablefmt="simple", colalign=("left", *["right"] * 5), disable_numparse=True)
    yield from textwrap.indent(str(table), "    ").splitlines()
    if found.rounding:
        yield f"    {found.rounding:g} besides: the reference returns what is rounded to a whole number"
    yield f"    |reference|: median {found.size.median:.3g}, largest {found.size.largest:.3g}"


def _trials(kernel: Kernel, case: Plan, example: Example, size: int) -> Iterator[str]:
    from specforge.verify.trial import check_tolerances, prepare

    if size > TRIED:
        yield f"  corruptions: not tried here on inputs of {format_quantity(size, 'B')}; `check` tries larger ones, too"
        return
    trials = check_tolerances(None, prepare(kernel, case, example))  # type: ignore[arg-type]  # it runs nothing
    yield "  corruptions that `check` tries, here on this case:"
    for trial in trials:
        yield f"    {trial.output}: {trial.corruption}: {_outcome(trial)}"


def _outcome(trial: Trial) -> str:
    if trial.outcome == "idle":
        return f"not applicable: {trial.reason}"
    if trial.outcome == "rejected":
        return f"rejected, {trial.ratio:.3g} x the tolerance"
    if trial.outcome == "unseen":
        return f"not to be seen here, {trial.ratio:.3g} x the tolerance: {trial.reason}"
    return f"LET THROUGH, {trial.ratio:.3g} x the tolerance: {trial.reason}; {trial.cure}"
