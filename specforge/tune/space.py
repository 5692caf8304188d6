"""The configurations of a case: what its kernel's tunables may be, and which of these values are worth a try."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from specforge.expressions import Scalar
from specforge.spec.interface import Kernel

Configuration = tuple[tuple[str, Scalar], ...]
"""Every tunable with its value, in the order of kernel.yaml."""

ALL = 32
"""A range of at most so many values is tried value by value."""
FACTORS = (0.25, 0.5, 0.75, 1.5, 2.0, 4.0)
"""Of the default: where a range is looked at first."""
STRIDES = (1, 2, 4, 8)
"""How many steps of a ladder a descent looks up and down at once."""


@dataclass(frozen=True)
class Space:
    """The configurations of one case; `feasible` refuses those that no launch of the card could take."""

    kernel: Kernel
    default: Configuration
    multiprocessors: int
    feasible: Callable[[Configuration], bool]

    @cached_property
    def axes(self) -> dict[str, tuple[Scalar, ...]]:
        """Each tunable's values: all that are listed, of a long range a ladder of about two steps an octave."""
        return {name: tuple(self._values(name)) for name in self.kernel.file.tunables}

    @property
    def size(self) -> int:
        """How many configurations kernel.yaml allows, feasible or not."""
        domains = [tunable.domain for tunable in self.kernel.file.tunables.values()]
        return math.prod(len(domain.listed) or domain.high - domain.low + 1 for domain in domains)

    @property
    def grid_size(self) -> int:
        """How many `grid` has before feasibility is asked."""
        return math.prod(len(values) for values in self.axes.values())

    def whole(self) -> Iterator[Configuration]:
        """Every feasible configuration; for small spaces."""
        domains = {name: tunable.domain for name, tunable in self.kernel.file.tunables.items()}
        values = {name: domain.listed or range(domain.low, domain.high + 1) for name, domain in domains.items()}
        yield from self._product(values)

    def grid(self) -> Iterator[Configuration]:
        """Every feasible configuration of the ladders."""
        yield from self._product(self.axes)

    def line(self, here: Configuration, name: str) -> list[Configuration]:
        """`here` with one tunable changed: to any listed value, or by STRIDES of its ladder up and down."""
        values = self.axes[name]
        if not self.is_range(name):
            return [self.changed(here, name, value) for value in values]
        numbers = [int(value) for value in values]
        place = bisect_left(numbers, int(dict(here)[name]))
        places = sorted({place + side * stride for side in (-1, 1) for stride in (0, *STRIDES)})
        return [self.changed(here, name, values[place]) for place in places if 0 <= place < len(values)]

    def between(self, here: Configuration, name: str, tried: Mapping[Configuration, float]) -> list[Configuration]:
        """`here` with a range's value half way to the nearest ones tried below and above; empty where none is left."""
        value = int(dict(here)[name])
        known = sorted(
            int(dict(other)[name]) for other in tried if self.changed(other, name, value) == here and other != here
        )
        place = bisect_left(known, value)
        sides = [*known[max(0, place - 1) : place], *known[place : place + 1]]
        found = {round(math.sqrt(value * side)) if side > 0 and value > 0 else (value + side) // 2 for side in sides}
        return [self.changed(here, name, middle) for middle in sorted(found - {value, *sides})]

    def is_range(self, name: str) -> bool:
        """Whether a tunable's domain is a range of more values than are tried one by one."""
        domain = self.kernel.file.tunables[name].domain
        return not domain.listed and domain.high - domain.low >= ALL

    @staticmethod
    def changed(here: Configuration, name: str, value: Scalar) -> Configuration:
        """The same with another value of one tunable."""
        return tuple((key, value if key == name else old) for key, old in here)

    def holds(self, here: Configuration) -> bool:
        """Whether a configuration, perhaps of an older kernel, is one of this space."""
        tunables = self.kernel.file.tunables
        known = [name for name, _ in here] == list(tunables)
        return known and all(value in tunables[name].domain for name, value in here) and self.feasible(here)

    def _product(self, values: Mapping[str, tuple[Scalar, ...] | range]) -> Iterator[Configuration]:
        for chosen in product(*values.values()):
            configuration = tuple(zip(values, chosen, strict=True))
            if self.feasible(configuration):
                yield configuration

    def _values(self, name: str) -> tuple[Scalar, ...]:
        domain = self.kernel.file.tunables[name].domain
        if domain.listed:
            return tuple(domain.listed)
        low, high = int(domain.low), int(domain.high)
        if high - low < ALL:
            return tuple(range(low, high + 1))
        usual = int(dict(self.default)[name])
        wanted = {low, high, usual, *(round(usual * factor) for factor in FACTORS)}
        wanted |= {base << shift for base in (1, self.multiprocessors) for shift in range(high.bit_length())}
        return tuple(sorted(value for value in wanted if low <= value <= high))
