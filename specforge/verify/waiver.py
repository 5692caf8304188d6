"""Known wrong results: which examples a kernel's waivers cover, and whether each waiver is still needed."""

from __future__ import annotations

import ast
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from specforge.diagnostics import Position
from specforge.expressions import ExpressionError, Scalar
from specforge.spec.geometry import resolve_tunables
from specforge.spec.interface import Kernel
from specforge.spec.kernel import Waiver
from specforge.verify.draw import Drawer
from specforge.verify.example import Example, ExampleResult

ENOUGH = 20
"""Examples inside a waiver, none of them wrong, that show it is no longer needed."""
DRAW_SECONDS = 2.0
"""How long examples inside a waiver are looked for."""


@dataclass(frozen=True, slots=True)
class WaiverUse:
    """What examples showed of one waiver."""

    position: Position
    when: str
    reason: str
    until: date
    output: str | None
    expired: bool
    inside: int = 0
    """Examples executed where it applies."""
    failed: int = 0
    """Of those, how many had a wrong value in an output that it covers."""
    worst_ratio: float = 0.0
    worst: Example | None = None

    @property
    def verdict(self) -> Literal["used", "unneeded", "untried", "expired"]:
        """`unneeded`: enough ran inside and nothing was wrong; `untried`: too little ran to say."""
        if self.expired:
            return "expired"
        if self.failed:
            return "used"
        return "unneeded" if self.inside >= ENOUGH else "untried"

    def __str__(self) -> str:
        """One sentence."""
        where = f"the waiver at {self.position.file}:{self.position.line}"
        if self.verdict == "unneeded":
            return f"{where} is no longer needed: remove it ({self.inside} examples where {self.when}, none wrong)"
        if self.verdict == "untried":
            few = f"{self.inside} examples ran where {self.when}, none wrong; {ENOUGH} would show it needless"
            return f"{where} is not decided: {few if self.inside else f'no example ran where {self.when}'}"
        ended = f"{where} ended on {self.until}" if self.expired else where
        worst = f", at worst {self.worst_ratio:.3g}x the tolerance" if self.failed else ""
        return f"{ended}: {self.failed} of {self.inside} examples where {self.when} wrong{worst} ({self.reason})"

    def merged(self, other: WaiverUse) -> WaiverUse:
        """What two searches showed together."""
        worse = max(self, other, key=lambda use: use.worst_ratio)
        return replace(
            self,
            inside=self.inside + other.inside,
            failed=self.failed + other.failed,
            worst_ratio=worse.worst_ratio,
            worst=worse.worst,
        )


class Waivers:
    """A kernel's waivers on a day, and what they were used for."""

    def __init__(self, kernel: Kernel, today: date) -> None:
        self._waivers = kernel.file.waivers
        self.uses = [
            WaiverUse(
                kernel.document.at(("waivers", index)),
                waiver.when.text,
                waiver.reason,
                waiver.until,
                waiver.output,
                today > waiver.until,
            )
            for index, waiver in enumerate(self._waivers)
        ]

    def around(self, known: Mapping[str, Scalar]) -> list[int]:
        """The waivers, by place, whose condition holds for these parameters and tunables; expired ones too."""
        return [index for index, waiver in enumerate(self._waivers) if _holds(waiver, known)]

    def active(self, known: Mapping[str, Scalar]) -> WaiverUse | None:
        """The first waiver that holds here and has not expired."""
        return next((self.uses[index] for index in self.around(known) if not self.uses[index].expired), None)

    def weigh(self, known: Mapping[str, Scalar], example: Example, result: ExampleResult) -> ExampleResult:
        """Note a result; one that is wrong only where a waiver says so becomes a pass without its waived errors.

        Its `failure` then says why. Nothing but wrong values is waived. Where a waiver has expired the failure says so.
        """
        here = self.around(known)
        if not here or result.kind not in ("ok", "wrong"):
            return result
        wrong = {error.output: error.ratio for error in result.errors if not error.passed}
        for index in here:
            use = self.uses[index]
            covered = [ratio for output, ratio in wrong.items() if use.output in (None, output)]
            use = replace(use, inside=use.inside + 1, failed=use.failed + bool(covered))
            if covered and max(covered) > use.worst_ratio:
                use = replace(use, worst_ratio=max(covered), worst=example)
            self.uses[index] = use
        if result.passed:
            return result
        left = {output for output in wrong if not any(self._covers(index, output) for index in here)}
        if wrong and not left:
            said = "; ".join(self.uses[index].reason for index in here if not self.uses[index].expired)
            return ExampleResult("ok", f"waived: {said}", tuple(error for error in result.errors if error.passed))
        late = [self.uses[index] for index in here if self.uses[index].expired]
        if late:
            note = f"the waiver at {late[0].position.file}:{late[0].position.line} expired on {late[0].until}"
            return replace(result, failure=f"{result.failure}; {note}")
        return result

    def _covers(self, index: int, output: str) -> bool:
        return not self.uses[index].expired and self.uses[index].output in (None, output)


def _holds(waiver: Waiver, known: Mapping[str, Scalar]) -> bool:
    try:
        return waiver.when.truth(known)
    except ExpressionError:  # a condition that means nothing for this case does not hold for it
        return False


def inside(kernel: Kernel, drawer: Drawer, index: int, count: int, seed: int) -> list[tuple[int, Example, None]]:
    """Up to `count` drawn examples for which a waiver's condition holds, each with its variant's place."""
    waiver, draw = kernel.file.waivers[index], random.Random(seed)
    found: list[tuple[int, Example, None]] = []
    fixed = dict(_fixed(waiver, kernel))
    end = time.monotonic() + DRAW_SECONDS
    while len(found) < count and time.monotonic() < end:
        drawn = drawer.draw(lambda most: draw.randint(0, most))
        if drawn is None:
            continue
        place, example = drawn
        example = replace(example, parameters=example.parameters | fixed)
        if not all(constraint.that.truth(example.parameters) for constraint in kernel.file.constraints):
            continue
        if fixed and drawer.cost(example.parameters, drawer.variants[place]) > drawer.cap:
            continue
        known = example.parameters | resolve_tunables(kernel, example.parameters, drawer.device) | example.tunables
        if _holds(waiver, known):
            found.append((place, example, None))
    return found


def _fixed(waiver: Waiver, kernel: Kernel) -> Iterator[tuple[str, Scalar]]:
    """Launch parameters that a condition of `and`s sets equal to a number: chance would hardly meet them."""
    tree = ast.parse(waiver.when.text.strip(), mode="eval").body
    for part in tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]:
        match part:
            case ast.Compare(left=ast.Name(id=name), ops=[ast.Eq()], comparators=[ast.Constant(value=value)]):
                declared = kernel.file.parameters.get(name)
                if declared is not None and declared.bind == "launch" and value in declared.domain:
                    yield name, value  # type: ignore[misc]  # in the domain, so a scalar
