"""Overlapping launch groups of a chain: they must give what the same groups give one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from specforge.backend.buffers import as_bytes
from specforge.measure.owed import ruled
from specforge.verify.example import ExampleResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from specforge.backend.device_case import DeviceCase
    from specforge.measure.timer import Graph, Timer
    from specforge.verify.compare import Array, OutputError

Links = dict[int, dict[str, "Array"]]
"""Outputs by link."""
MOST_LINKS = 64
"""So many links, from first to last, are read back."""
RUNS = 3
"""How often a race of a missing wait may show itself before the timing; it may again in the timing."""


class NoChain(Exception):
    """The chain cannot be run as it is wired; nothing is wrong with the kernel."""


class Chain:
    """The links of a chain, run one after the other and checked with the reference; overlapping ones are compared.

    The first link reads the case's own input, each further one what the one before it wrote. What must come out does
    not depend on time, so a link that does not wait for the one ahead shows as other bits: outputs are poisoned before.
    """

    def __init__(
        self,
        timer: Timer,
        case: DeviceCase,
        graph: Graph,
        inputs: Mapping[str, Array],
        ask: Callable[[dict[str, Array], dict[str, Array], str], ExampleResult],
    ) -> None:
        """`ask` has a link's outputs checked: with what the link ahead gave it, what it left, and words on it."""
        self._timer, self._case, self._graph, self._inputs, self._ask = timer, case, graph, inputs, ask
        self._errors: tuple[OutputError, ...] = ()
        count = graph.groups.count
        self._last = count - 1
        copies = {name: place.copies for name, place in case.layout.places.items() if place.plan.is_judged}
        first = max(0, count - min(copies[name] for name in case.plan.chain.values()))
        self._first_whole = count <= min(copies.values())
        turns = np.linspace(first, self._last, min(MOST_LINKS, count - first)).round().astype(int).tolist()
        self._kept = sorted({*turns, *range(max(first, self._last - 1), count)})
        with timer.captured(graph.groups, linked=True, early=False) as apart:
            timer.once(apart)
            self._want = self._links()
            timer.once(apart)
            self._steady = _difference(self._want, self._links()) is None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the comparison."""
        if self._steady:
            return ()
        return ("the chain's bits vary between runs, so overlapping links are checked with the reference alone",)

    def check(self, want: Mapping[str, Array]) -> ExampleResult:
        """The first and the last link against the reference, then overlapping runs against the links one by one.

        `want` is what the reference makes of the case's inputs. Raises NoChain where the values run out of range.
        """
        if self._first_whole:
            result = self._kept_errors(ruled(self._case.plan, self._want[0], want, "the first link of the chain: "))
            if not result.passed:
                return result
        result = self._last_by_reference("the last link")
        for _ in range(RUNS):
            if result.passed:
                self._timer.once(self._graph.replay)
                result = self.compare()
        return result

    def compare(self) -> ExampleResult:
        """What the last overlapping replay left, against the same links one by one."""
        if not self._steady:
            self._want = self._links()
            try:
                return self._last_by_reference("the last overlapping link")
            except NoChain as reason:  # one after another they left every value finite
                return ExampleResult("wrong", f"{reason} where launches overlap: a grid_wait() is missing or late")
        found = _difference(self._want, self._links())
        if found is None:
            return ExampleResult("ok", None, self._errors)
        sentence = (
            f"overlapped: {found}, other than the same launches one after another: a grid_wait() is missing or late"
        )
        return ExampleResult("wrong", sentence)

    def _links(self) -> Links:
        """Of the last link all outputs, of earlier ones those that the next link read: others may be overwritten."""
        read = set(self._case.plan.chain.values())
        found = {turn: self._case.outputs(turn) for turn in self._kept}
        for turn, outputs in found.items():
            if turn != self._last and not self._first_whole:
                found[turn] = {name: array for name, array in outputs.items() if name in read}
        return found

    def _last_by_reference(self, what: str) -> ExampleResult:
        chain, last = self._case.plan.chain, self._last
        given = {name: self._inputs[name] for name in chain}
        if last > 0:
            given = {name: self._want[last - 1][source] for name, source in chain.items()}
        if self._case.plan.updated:
            given |= self._timer.ahead_of_last(last + 1, linked=True)
        for name, array in given.items():
            if not in_range(array):
                raise NoChain(f"not overlapped: after {last} links of the chain {name!r} is no longer finite")
        return self._kept_errors(self._ask(given, self._want[last], f"{what} of the chain: "))

    def _kept_errors(self, found: ExampleResult) -> ExampleResult:
        if found.passed and found.errors:
            self._errors = found.errors
        return found


def in_range(array: Array) -> bool:
    """Whether every element is a number that a reference can be given."""
    return bool(np.isfinite(array.astype(np.float64)).all())


def _difference(one: Links, other: Links) -> str | None:
    """Words on the first link whose bits differ."""
    for turn, outputs in one.items():
        for name, array in outputs.items():
            differs = np.flatnonzero(as_bytes(array) != as_bytes(other[turn][name]))
            if differs.size:
                return f"link {turn} differs in {differs.size} bytes of {name}"
    return None
