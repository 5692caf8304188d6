"""What `values` entries with formulas come to in a case, checked against the tensor that is to hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from specforge.diagnostics import Diagnostic, SpecForgeError
from specforge.dtypes import DTYPES
from specforge.expressions import ExpressionError, Scalar
from specforge.spec.interface import Kernel, expression_diagnostic
from specforge.spec.kernel import ValueRange
from specforge.spec.ranges import values_at


@dataclass(frozen=True, slots=True)
class Bounds:
    """Values from `low` to `high`, both included; whole numbers are `distinct` along the last axis, or everywhere."""

    kind: Literal["between", "distinct", "permutation"]
    low: float
    high: float


def bounds_of(
    kernel: Kernel, name: str, *, shape: Sequence[int], dtype: str, known: Mapping[str, Scalar], case: str
) -> dict[str, Bounds]:
    """The bounds of a tensor's ranges by their labels; raises SF304 at the formula, naming the case."""
    tensor = kernel.file.tensors[name]
    return {
        label: _bounds(kernel, name, index, shape=shape, dtype=dtype, known=known, case=case)
        for index, label in enumerate(tensor.labels)
        if isinstance(tensor.values[index], ValueRange)
    }


def _bounds(
    kernel: Kernel,
    name: str,
    index: int,
    *,
    shape: Sequence[int],
    dtype: str,
    known: Mapping[str, Scalar],
    case: str,
) -> Bounds:
    entry, element = kernel.file.tensors[name].values[index], DTYPES[dtype]
    assert isinstance(entry, ValueRange)
    places = values_at(kernel.document, name, index, entry)
    found: list[float] = []
    for place, formula in zip(places, entry.formulas(), strict=True):
        try:
            found.append(formula.number(known) if element.is_float else formula.integer(known))
        except ExpressionError as error:
            raise SpecForgeError(expression_diagnostic(error, kernel.document, place)) from None
    here = kernel.document.at(places[0])

    def fault(message: str) -> SpecForgeError:
        return SpecForgeError(Diagnostic("SF304", f"{message} for {case}", here, entry.formulas()[0].text))

    if entry.kind == "between":
        low, high = found
        if low > high:
            raise fault(f"{name} has no value between {low} and {high}")
    else:
        low, high = 0, found[0] - 1
        due = shape[-1] if entry.kind == "distinct" else math.prod(shape)
        if found[0] < due:
            raise fault(f"{name} takes {due} distinct values, and there are {found[0]}")
    least, most = element.limits
    if low < least or high > most:
        raise fault(f"{dtype} does not hold every value of {name} between {low} and {high}")
    return Bounds(entry.kind, low, high)
