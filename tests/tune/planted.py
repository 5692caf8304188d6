"""A kernel with tunables but no card: what a search is tried on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from specforge.spec.domain import Domain
from specforge.tune.space import Configuration, Space


def space(
    default: Mapping[str, Any],
    feasible: Callable[[Configuration], bool] = lambda _: True,
    **domains: Domain,
) -> Space:
    """A space of these tunables, as a kernel with 132 multiprocessors would have it."""
    tunables = {name: SimpleNamespace(domain=domain) for name, domain in domains.items()}
    kernel: Any = SimpleNamespace(file=SimpleNamespace(tunables=tunables))
    return Space(kernel, tuple(default.items()), 132, feasible)


@dataclass
class PlantedClock:
    """Times that a function says, with noise of `rough` and, between processes, of `between`; both are shares."""

    seconds: Callable[[dict[str, Any]], float]
    wrong: Callable[[dict[str, Any]], bool] = lambda _: False
    late: Callable[[dict[str, Any]], bool] = lambda _: False
    """Found wrong only at full precision."""
    rough_noise: float = 0.02
    between: float = 0.002
    seed: int = 0
    asked: list[Configuration] = field(default_factory=list)
    finals: list[Configuration] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def rough(self, batch: Sequence[Configuration], *, careful: bool) -> dict[Configuration, float]:
        self.asked += batch
        noise = self.rough_noise / (4 if careful else 1)
        return {
            one: self.seconds(dict(one)) * (1 + self._random.gauss(0, noise))
            for one in batch
            if not self.wrong(dict(one))
        }

    def final(self, batch: Sequence[Configuration]) -> dict[Configuration, list[list[float]]]:
        self.finals = list(batch)
        found = {}
        for one in batch:
            known = dict(one)
            if not self.wrong(known) and not self.late(known):
                shifts = [self._random.gauss(0, self.between) for _ in range(5)]
                found[one] = [
                    [self.seconds(known) * (1 + shift + self._random.gauss(0, 0.005)) for _ in range(200)]
                    for shift in shifts
                ]
        return found
