"""A tolerance in numbers: what each of its terms allows on drawn data, beside the size of the output."""

from __future__ import annotations

from dataclasses import dataclass

from specforge.spec.geometry import Plan
from specforge.verify.example import Example


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and largest of something over the elements of an output."""

    median: float
    largest: float


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an output may err by: each term of its formula, and all of them together."""

    output: str
    size: Spread
    """Of |reference|."""
    terms: dict[str, Spread]
    """By the key of kernel.yaml."""
    multiplied: dict[str, Spread]
    """What the coefficient of each term is multiplied with."""
    whole: Spread
    rounding: float
    """What is free besides: half of one where a whole number is due and the reference says what is rounded."""


def allowances(plan: Plan, example: Example) -> list[Allowance]:
    """The tolerances of every output that is not exact, on an example's data; calls the reference."""
    import numpy as np

    from specforge.verify.compare import Array, rounding, terms
    from specforge.verify.example import draw_inputs
    from specforge.verify.reference import call_reference

    def spread(values: Array) -> Spread:
        return Spread(float(np.median(values)), float(values.max()))

    want = call_reference(plan, draw_inputs(plan, example))
    found = []
    for buffer in plan.buffers:
        bound = plan.tolerances.get(buffer.name)
        if not buffer.is_judged or bound is None or bound.exact:
            continue
        parts = terms(plan, buffer, want)
        found.append(
            Allowance(
                buffer.name,
                spread(np.abs(want[buffer.name])),
                {key: spread(values) for key, values in parts.items()},
                {key: spread(values / getattr(bound, key)) for key, values in parts.items()},
                spread(sum(parts.values(), start=np.zeros(buffer.shape))),
                rounding(buffer, want),
            )
        )
    return found
