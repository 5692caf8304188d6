"""Which configurations to time: all of a small space, of a large one those that a descent comes by.

The search is SpecForge's own: choosing tunables is what it exists for, and with at most some hundred timings of a
handful of tunables the optimiser is the small part. Those that are kept well bring a database layer (optuna) or a stack
for machine learning (nevergrad); scipy's take real numbers, where a tunable is one of a few whole ones.

A coordinate descent from several starts: along one tunable after another, the best of a few values is taken, until none
of them gains; then ranges are halved around it. Restarts are drawn from the whole space, for a descent alone ends in
the nearest hollow. A batch is what can be compiled side by side. A failed configuration has no time and is never gone
on from.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable, Mapping, Sequence

from specforge.tune.space import Configuration, Space

MOST = 200
"""Configurations of one case that are timed at most; a space of no more is timed whole."""
ENUMERATED = 20_000
"""Spaces up to this size are counted after feasibility, to see whether they are small."""
GAIN = 0.005
"""A descent goes on where it wins at least this share."""
RESTARTS = 2

Search = Generator[list[Configuration], Mapping[Configuration, float], None]
"""Yields batches; is sent seconds by configuration, without those that failed."""


def search(space: Space, starts: Sequence[Configuration], most: int = MOST, seed: int = 0) -> Search:
    """Propose at most `most` configurations, beginning with `starts`; each once."""
    small = list(space.whole()) if space.size <= max(most, ENUMERATED) else None
    if small is not None and len(small) <= most:
        yield list(dict.fromkeys([*starts, *small]))
        return
    course = _Course(space, most)
    yield from course.ask(starts)
    drawn = random.Random(seed)
    if space.grid_size <= most // 2:
        yield from course.ask(space.grid())
        points = sorted(course.times, key=lambda one: course.times[one])[: 1 + RESTARTS]
    else:
        points = [*starts, *(_draw(space, drawn) for _ in range(RESTARTS))]
    for point in points:
        yield from course.descend(point)


def _draw(space: Space, drawn: random.Random) -> Configuration:
    here = space.default
    for _ in range(20):
        here = tuple((name, drawn.choice(values)) for name, values in space.axes.items())
        if space.feasible(here):
            return here
    return space.default


class _Course:
    """What was proposed and what came back."""

    def __init__(self, space: Space, most: int) -> None:
        self._space, self._most = space, most
        self._asked: set[Configuration] = set()
        self.times: dict[Configuration, float] = {}

    def ask(self, batch: Iterable[Configuration]) -> Search:
        """Propose what is new of a batch, as far as there is room."""
        new = [one for one in dict.fromkeys(batch) if one not in self._asked and self._space.feasible(one)]
        new = new[: self._most - len(self._asked)]
        self._asked.update(new)
        if new:
            self.times.update((yield new))

    def descend(self, here: Configuration) -> Search:
        """Go down from a point until nothing gains any more."""
        yield from self.ask([here])
        while here in self.times:
            last = here
            for name in self._space.axes:
                here = yield from self._along(here, name)
            if here == last:
                return

    def _along(
        self, here: Configuration, name: str
    ) -> Generator[list[Configuration], Mapping[Configuration, float], Configuration]:
        """The best place along one tunable, ranges to the middle between neighbours."""
        while True:
            line = self._space.line(here, name)
            yield from self.ask(line)
            better = self._better(here, line)
            if better is None and self._space.is_range(name):
                line = self._space.between(here, name, self.times)
                yield from self.ask(line)
                better = self._better(here, line)
            if better is None:
                return here
            here = better

    def _better(self, here: Configuration, line: Sequence[Configuration]) -> Configuration | None:
        best = min((one for one in line if one in self.times), key=lambda one: self.times[one], default=here)
        return best if self.times[best] < self.times[here] * (1 - GAIN) else None
