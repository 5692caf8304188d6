"""Taking batches of one case on a card: one launch group at a time, one launch at a time, or graphs of many groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from specforge.backend.cuda import CudaRunner
from specforge.measure.groups import Groups, choose_groups, groups_again
from specforge.measure.series import Batch
from specforge.measure.stopping import LEAST

if TYPE_CHECKING:
    from specforge.backend.device_case import DeviceCase
    from specforge.backend.stopwatch import Chunks
    from specforge.backend.telemetry import CardWatch
    from specforge.measure.residency import Residency
    from specforge.verify.compare import Array

LONGEST_BATCH = 0.05
"""Seconds that a batch lasts, about, with 3 samples at least: the card's state is read only after it."""
TRIES = 5
GAP = 3e-6
"""Seconds, about, by which a launch group alone between two events takes longer than one in a graph."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A captured graph of launch groups: `replay` enqueues it once."""

    replay: Callable[[], None]
    groups: Groups
    seconds: float
    """What a replay takes, roughly."""


class Timer:
    """Each batch starts from poisoned outputs and an L2 without the next copies; rotations go on where they ended.

    L2 is scrubbed and the hot tensors are warmed first, but for an isolated batch that goes on where one ended.
    """

    def __init__(self, runner: CudaRunner, case: DeviceCase, residency: Residency, watch: CardWatch) -> None:
        self._runner = runner
        self._case = case
        self.residency = residency
        self._watch = watch
        self._launches = len(case.plan.launches)
        self.last = 0
        """The rotation of the last timed launch group."""
        self.parts: dict[tuple[float, ...], list[tuple[float, ...]]] = {}
        """By a batch of `launches`: the samples of each launch."""
        self.seconds = 0.0
        """What a launch group takes alone, roughly."""
        self._rotating = False
        """Whether L2 is as the launch group before the next rotation left it."""
        self._settle()  # what reads is loaded now: behind a held stream that would wait for ever
        case.wait()
        self.seconds = min(self._isolated(TRIES))

    def isolated(self, count: int) -> Batch:
        """At most `count` launch groups, each between two events."""
        return Batch(tuple(self._isolated(self._most(count, self.seconds))), self._watch.glance())

    def launches(self, count: int) -> Batch:
        """At most `count` launch groups, each launch between two events of its own; a sample is the sum of a group."""
        size = self._launches
        seconds = self._isolated(self._most(count, self.seconds), apart=True)
        parts = [tuple(seconds[place::size]) for place in range(size)]
        sums = tuple(sum(group) for group in zip(*parts, strict=True))
        self.parts[sums] = parts
        return Batch(sums, self._watch.glance())

    @contextmanager
    def graph(self, count: int | None = None, *, linked: bool = False, early: bool = False) -> Iterator[Graph]:
        """A graph of `count` launch groups, or as many as make a good sample where those are not cold, replayed before.

        For the rest see `DeviceCase.launch`.
        """
        with ExitStack() as owned:
            again = None if count is None else groups_again(count, self.residency)
            guess = max(self.seconds - GAP * self._launches, self.seconds / 8)
            groups = again or choose_groups(self.residency, self._launches, guess)
            replay = owned.enter_context(self.captured(groups, linked=linked, early=early))
            self._replays(replay, groups, 1)
            (seconds,) = self._replays(replay, groups, 1)
            better = choose_groups(self.residency, self._launches, seconds)
            if again is None and not groups.count / 2 < better.count < groups.count * 2:  # the guess was far off
                owned.close()
                groups = better
                replay = owned.enter_context(self.captured(groups, linked=linked, early=early))
                self._replays(replay, groups, 1)
            yield Graph(replay, groups, seconds * groups.count)

    @contextmanager
    def captured(self, groups: Groups, *, linked: bool, early: bool) -> Iterator[Callable[[], None]]:
        """A graph of just so many groups, not replayed yet."""

        def enqueue() -> None:
            for turn in range(groups.count):
                self._case.launch(turn, linked=linked and turn > 0, early=early and turn > 0)

        with self._runner.captured(enqueue) as replay:
            yield replay

    def replays(self, graph: Graph, count: int) -> Batch:
        """At most `count` replays, each between two events; a sample is the time per launch group."""
        seconds = self._replays(graph.replay, graph.groups, self._most(count, graph.seconds))
        return Batch(tuple(seconds), self._watch.glance())

    def chunks(self, graph: Graph) -> Chunks:
        """What replays the graph over and over, back to back; nothing is scrubbed between."""
        return self._runner.chunks(graph.replay)

    def once(self, replay: Callable[[], None]) -> None:
        """One replay over poisoned outputs, and over what is updated in place as given; not timed."""
        self._renew()
        replay()
        self._case.wait()

    def alone(self, rotation: int) -> None:
        """One launch group as `once`, as isolated ones are launched."""
        self.once(lambda: self._case.launch(rotation))

    def ahead_of_last(self, count: int, *, linked: bool = False) -> dict[str, Array]:
        """What the last of so many launch groups, one after the other, finds in the tensors that it updates in place.

        That is how a graph of them uses its copies: the last one's may have been updated before.
        """
        self._renew()
        for turn in range(count - 1):
            self._case.launch(turn, linked=linked and turn > 0)
        self._case.wait()
        return self._case.held(count - 1)

    def _renew(self) -> None:
        self._rotating = False
        self._case.poison()
        if self._case.plan.updated:
            self._case.restore()

    def _isolated(self, count: int, *, apart: bool = False) -> list[float]:
        case, size = self._case, self._launches if apart else 1
        only: list[int | None] = list(range(size)) if apart else [None]
        untimed, *turns = range(self.last + 1, self.last + 2 + count)
        works = [partial(case.launch, turn, only=place) for turn in turns for place in only]

        def ahead(number: int) -> None:
            if number == 0:
                if not self._rotating:  # else the last copies displaced the next ones, as between two samples
                    self._settle()
                case.launch(untimed)  # over poisoned outputs, whose lines the card has still to write back
            if self.residency.scrub_bytes and number % size == 0:
                case.scrub(self.residency.scrub_bytes, turns[number // size])

        self._reset()
        seconds = self._runner.time(works, ahead=ahead)
        self.last = turns[-1]
        self._rotating = not self.residency.scrub_bytes
        return seconds

    def _replays(self, replay: Callable[[], None], groups: Groups, count: int) -> list[float]:
        self._reset()
        self._rotating = False

        def ahead(number: int) -> None:
            if groups.scrub or number == 0:
                self._settle()

        seconds = self._runner.time([replay] * count, ahead=ahead)
        self.last = groups.count - 1
        return [time / groups.count for time in seconds]

    def _reset(self) -> None:
        self._case.poison()
        self._runner.reset_persisting_l2()

    def _settle(self) -> None:
        """Enqueue what leaves L2 without cold copies and modified lines, and with the hot tensors in it."""
        if self.residency.total:
            self._case.scrub(self.residency.total, 0)
        self._case.warm()

    def _most(self, count: int, seconds: float) -> int:
        return min(count, max(LEAST, int(LONGEST_BATCH / max(seconds, 1e-9))))
