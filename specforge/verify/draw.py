"""Drawing examples from numbers that Hypothesis chooses.

Every example takes the same sequence of numbers, each from 0 upward, and smaller ones make simpler examples: so
failing ones shrink well. A range is cut into ascending cells, each edge and its neighbours in cells of their own, the
rest by powers of two, and the edges weigh about as much as all the rest. Parameters are drawn in random order, each
below the value at which the case would cost more than the cap with those still undrawn at their least: large values
are met with the others small, and next to nothing is rejected. Most examples stay below a 64th of the cap and one in
forty may reach it, so that large cases cost no more time than small ones together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from specforge.expressions import Scalar
from specforge.spec.domain import Domain
from specforge.spec.interface import Kernel
from specforge.verify.example import SEEDS, Example

Number = Callable[[int], int]
"""`number(n)` draws a whole number from 0 to n, both included."""

Cell = tuple[Any, ...]
"""One value, or the two ends of a stretch of whole numbers."""

OFFSETS = (0, 0, 0, 16, 32, 48, 64, 128, 240)
SCHEDULES = 1 << 16
SHARES = (256,) * 16 + (64,) * 14 + (16,) * 8 + (4, 1)
"""The cap of an example is the whole cap divided by one of these."""
RANKS = 1 << 40
"""A value is drawn as its rank among this many, so that the choice stays the same number whatever bounds its value."""
_FEW = 16  # values that need no cells
_NEAR = 2  # how far from an edge values are still worth their own cell


class Drawer:
    """Draws examples of one kernel for variants that are compiled already, each below a cost cap in emulated steps."""

    def __init__(
        self, kernel: Kernel, variants: Sequence[Mapping[str, Scalar]], cap: float, device: Mapping[str, Scalar]
    ) -> None:
        self.kernel = kernel
        self.variants = [dict(variant) for variant in variants]
        self.cap = cap
        self.device = device
        self._launch = {
            name: parameter for name, parameter in kernel.file.parameters.items() if parameter.bind == "launch"
        }
        self._least = {name: _least(parameter.domain) for name, parameter in self._launch.items()}
        steps = kernel.file.emulation.steps
        self._cost_tunables = {
            name: kernel.file.tunables[name].default for name in steps.names() if name in kernel.file.tunables
        }
        self._bounds: dict[tuple[Scalar, ...], int] = {}

    def draw(self, number: Number) -> tuple[int, Example] | None:
        """The variant's index and an example of it, or None where the numbers drawn satisfy no constraint."""
        index = number(len(self.variants) - 1)
        variant = self.variants[index]
        cap = self.cap / SHARES[number(len(SHARES) - 1)]
        parameters = self._parameters(variant, cap, number)
        if parameters is None:
            return None
        tunables = self._tunables(variant, parameters, cap, number)
        values: dict[str, str] = {}
        for name in self.kernel.inputs():
            listed = self.kernel.file.tensors[name].labels
            place = number(len(listed))  # the first one twice
            if place > 1:
                values[name] = listed[place - 1]
        offset = OFFSETS[number(len(OFFSETS) - 1)]
        return index, Example(parameters, tunables, values, number(SEEDS - 1), number(SCHEDULES), offset)

    def extremes(self) -> list[tuple[int, Example, str | None]]:
        """The least case, and each launch parameter at its largest with the others at their least, within the cap.

        Each in the variant that is cheapest to emulate: what random draws meet only now and then. With the variant's
        index comes the name of what is largest.
        """
        index = min(range(len(self.variants)), key=lambda place: self.cost(self._fixed(place), self.variants[place]))
        least = self._fixed(index)
        found: list[tuple[dict[str, Scalar], str | None]] = [(least, None)]
        found += [
            ({**least, name: max(parameter.domain.edges(), key=_order)}, name)
            for name, parameter in self._launch.items()
        ]
        order = self.kernel.file.parameters
        return [
            # A seed for each, so that no two begin with the same bytes.
            (index, Example({key: case[key] for key in order}, self._compiled(case, index), seed=place), name)
            for place, (case, name) in enumerate(found)
            if self._holds(case, None) and self.cost(case, self.variants[index]) <= self.cap
        ]

    def _compiled(self, parameters: Mapping[str, Scalar], place: int) -> dict[str, Scalar]:
        """The compile tunables of a variant that differ from their defaults."""
        known = {**self.device, **parameters}
        return {
            name: self.variants[place][name]
            for name, tunable in self.kernel.file.tunables.items()
            if tunable.bind == "compile" and self.variants[place][name] != tunable.default.evaluate(known)
        }

    def _fixed(self, place: int) -> dict[str, Scalar]:
        known = self.kernel.file.parameters
        return {**self._least, **{name: value for name, value in self.variants[place].items() if name in known}}

    def _parameters(self, variant: Mapping[str, Scalar], cap: float, number: Number) -> dict[str, Scalar] | None:
        fixed = {name: value for name, value in variant.items() if name in self.kernel.file.parameters}
        left = list(self._launch)
        drawn: dict[str, Scalar] = dict(fixed)
        while left:
            name = left.pop(number(len(left) - 1))
            value = _pick(self._slots(name, drawn, variant, cap), number(RANKS - 1))
            repaired = self._repair(name, value, drawn)
            if repaired is None:
                return None
            drawn[name] = repaired
        for name in reversed(
            self._launch
        ):  # a repair, or a cost that falls and rises, may have left the case above the cap
            if self.cost(drawn, variant) <= cap:
                break
            drawn[name] = self._least[name]
        if not self._holds(drawn, None):
            return None
        return {name: drawn[name] for name in self.kernel.file.parameters}

    def cost(
        self,
        parameters: Mapping[str, Scalar],
        variant: Mapping[str, Scalar],
        tunables: Mapping[str, Scalar] | None = None,
    ) -> float:
        """Emulated steps of a case; launch tunables not given stand at their defaults."""
        known = {
            **self.device,
            **parameters,
            **{name: value for name, value in variant.items() if name not in self.kernel.file.parameters},
            **(tunables or {}),
        }
        for name, default in self._cost_tunables.items():
            if name not in known:
                known[name] = default.evaluate(known)
        return self.kernel.file.emulation.steps.number(known)

    def _slots(
        self, name: str, drawn: Mapping[str, Scalar], variant: Mapping[str, Scalar], cap: float
    ) -> Sequence[Cell]:
        """Cells to pick from, ascending, each as often as it weighs."""
        parameter = self._launch[name]

        def fits(value: Scalar) -> bool:
            return self.cost({**self._least, **drawn, name: value}, variant) <= cap

        if parameter.domain.listed:
            return [(value,) for value in parameter.domain.listed if fits(value)] or [(self._least[name],)]
        key = (name, cap, *drawn, *drawn.values(), *variant.values())
        if key not in self._bounds:
            self._bounds[key] = _largest(parameter.domain.low, parameter.domain.high, fits)
        return slots(parameter.domain.low, self._bounds[key], parameter.edges)

    def _repair(self, name: str, value: Scalar, drawn: Mapping[str, Scalar]) -> Scalar | None:
        """The value, or the nearest one (below, then above) with which every constraint over what is drawn holds."""
        if self._holds({**drawn, name: value}, name):
            return value
        domain: Domain = self._launch[name].domain
        if domain.listed:
            others: Sequence[Scalar] = domain.listed
        else:
            assert isinstance(value, int)
            below = [value - step for step in range(1, 65)] + [value >> shift for shift in range(1, 64)]
            others = [other for other in (*below, domain.low, *range(value + 1, value + 65)) if other in domain]
        return next((other for other in others if self._holds({**drawn, name: other}, name)), None)

    def _holds(self, drawn: Mapping[str, Scalar], name: str | None) -> bool:
        for constraint in self.kernel.file.constraints:
            names = constraint.that.names()
            if (
                all(used in drawn for used in names)
                and (name is None or name in names)
                and not constraint.that.truth(drawn)
            ):
                return False
        return True

    def _tunables(
        self, variant: Mapping[str, Scalar], parameters: Mapping[str, Scalar], cap: float, number: Number
    ) -> dict[str, Scalar]:
        """Those that differ from their defaults: compile ones as compiled, launch ones mostly left alone."""
        known = {**self.device, **parameters}
        chosen: dict[str, Scalar] = {}
        for name, tunable in self.kernel.file.tunables.items():
            if tunable.bind == "compile":
                value, free = variant[name], True
            else:
                changed, rank = number(3) == 3, number(RANKS - 1)
                value = _pick(_tunable_cells(tunable.domain), rank)
                free = changed and self.cost(parameters, variant, {**chosen, name: value}) <= cap
            if free and value != tunable.default.evaluate(known):
                chosen[name] = value
        return chosen


def _pick(cells: Sequence[Cell], rank: int) -> Scalar:
    """The value at a rank: ascending in it, each cell equally likely, and each value of a cell."""
    place = rank * len(cells)
    cell = cells[place // RANKS]
    value: Scalar = cell[0] if len(cell) == 1 else cell[0] + place % RANKS * (cell[1] - cell[0] + 1) // RANKS
    return value


def _tunable_cells(domain: Domain) -> Sequence[Cell]:
    return [(value,) for value in domain.listed] or slots(domain.low, domain.high, ())


def _order(value: Scalar) -> tuple[bool, Scalar]:
    """Numbers by size; texts after them."""
    return isinstance(value, str), value


def _least(domain: Domain) -> Scalar:
    if not domain.listed:
        return domain.low
    numbers = [value for value in domain.listed if isinstance(value, int) and not isinstance(value, bool)]
    return min(numbers) if numbers else domain.listed[0]


def _largest(low: int, high: int, fits: Callable[[Scalar], bool]) -> int:
    """The largest value that fits, by bisection; `low` where none does."""
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def slots(low: int, high: int, edges: Sequence[int]) -> list[Cell]:
    """Ascending cells of low..high, repeated by weight: edges together about as much as the rest."""
    if high - low < _FEW:
        return [(value,) for value in range(low, high + 1)]
    single = {
        value for edge in (low, high, *edges) for value in range(edge - _NEAR, edge + _NEAR + 1) if low <= value <= high
    }
    starts = sorted({*single, *(value + 1 for value in single if value < high), *_powers(low, high)})
    cells: list[Cell] = []
    for start, after in zip(starts, [*starts[1:], high + 1], strict=True):
        cells.append((start,) if after - start == 1 else (start, after - 1))
    wide = sum(len(cell) == 2 for cell in cells)
    weight = max(1, round(len(single) / wide)) if wide else 1
    return [cell for cell in cells for _ in range(weight if len(cell) == 2 else 1)]


def _powers(low: int, high: int) -> list[int]:
    return [low, *(1 << bit for bit in range(high.bit_length()) if low < 1 << bit <= high)]
