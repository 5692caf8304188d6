"""The modes of one case, timed one after the other; what each wrote is checked before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from specforge.backend.energy import Energy, measure_energy
from specforge.measure.chain import Chain, NoChain, in_range
from specforge.measure.owed import Owed, in_mode, ruled, worst
from specforge.measure.series import Batch, Mode, Series
from specforge.measure.stopping import StopRule
from specforge.measure.throttle import collect_steadily
from specforge.measure.timer import Graph, Timer
from specforge.verify.example import ExampleResult

if TYPE_CHECKING:
    from specforge.backend.device_case import DeviceCase
    from specforge.backend.telemetry import CardWatch
    from specforge.verify.compare import Array

FEWEST = 24
"""Samples, at least, of a mode whose samples are means already, over the groups of a graph."""


class Course:
    """The modes of one case, one after the other; what one left behind is checked before the next begins.

    `ask` says what the reference makes of other inputs than the case's own, or None: then that check is owed. `groups`
    are the launch groups of a mode's graph, where an earlier process chose.
    """

    def __init__(
        self,
        case: DeviceCase,
        timer: Timer,
        watch: CardWatch,
        rule: StopRule,
        *,
        inputs: dict[str, Array],
        want: dict[str, Array],
        ask: Callable[[dict[str, Array]], dict[str, Array] | None],
        groups: Mapping[Mode, int] | None = None,
    ) -> None:
        self._case, self._timer, self._watch, self._rule = case, timer, watch, rule
        self._inputs, self._want, self._ask = inputs, want, ask
        self._groups = groups or {}
        self._updated = case.plan.updated
        self.start = watch.read()  # one for all modes: who comes to the card in one is a stranger in the next
        self.series: dict[Mode, Series] = {}
        self.launches: dict[str, Series] = {}
        self.energy: Energy | None = None
        self.notes: list[str] = []
        if self._updated:
            names = ", ".join(self._updated)
            self.notes.append(f"updated in place, and restored for each check after timing: {names}")
        self.after: ExampleResult | None = None
        """The first check that failed; where none did, the one with the largest error."""
        self.owed: list[Owed] = []
        self.displaced = True

    def isolated(self) -> None:
        """One group between two events and, of several launches, each between two of its own."""
        self.series["isolated"] = self._collect("isolated", 1, self._timer.isolated)
        if self._updated:
            self._timer.alone(self._timer.last)
        self._check("isolated", judged(self._case, self._want, self._timer.last))
        planned = self._case.plan.launches
        if len(planned) > 1:
            rule = replace(self._rule, bounds=(), warmup_launches=1, warmup_seconds=0.0)
            whole = self._collect("isolated", 1, self._timer.launches, rule)
            names: list[str] = []
            for launch in planned:
                names.append(_numbered(launch.entry, [name.partition("#")[0] for name in names]))
            for place, name in enumerate(names):
                batches = [replace(batch, samples=self._timer.parts[batch.samples][place]) for batch in whole.batches]
                self.launches[name] = replace(whole, batches=tuple(batches), notes=())

    def amortised(self, energy: float = 0.0) -> None:
        """Groups in a graph, one after the other; `energy`: seconds of work to count joules over as well."""
        with self._timer.graph(self._groups.get("amortised")) as graph:
            self._graph("amortised", graph)
            try:
                given = self._replayed(graph) if self._updated else {}
            except NoChain as reason:
                self.series.pop("amortised")
                self.notes.append(str(reason))
                return
            if given:
                self._check("amortised", self._ask_of("amortised", given, self._case.outputs(self._timer.last)))
            else:
                self._check("amortised", judged(self._case, self._want, self._timer.last))
            if energy:
                self._count_energy(graph, energy)

    def overlapped(self) -> None:
        """Groups in a graph, each on what the one before it wrote, starting as early as it may."""
        with self._timer.graph(self._groups.get("overlapped"), linked=True, early=True) as graph:
            chain = Chain(self._timer, self._case, graph, self._inputs, partial(self._ask_of, "overlapped"))
            try:
                found = chain.check(self._want)
                self.notes += chain.notes
                if found.passed:
                    self._graph("overlapped", graph)
                    if self._updated:
                        self._timer.once(graph.replay)
                    found = chain.compare()
            except NoChain as reason:
                self.series.pop("overlapped", None)
                self.notes.append(str(reason))
                return
            self._check("overlapped", found)

    def _replayed(self, graph: Graph) -> dict[str, Array]:
        """Replay once over what is updated in place as given, and say what its last launch group found there.

        A graph may use a copy several times, and what the last use of one finds there is what the kernel left before:
        taken from the same launches, one by one.
        """
        count = graph.groups.count
        found = self._timer.ahead_of_last(count)
        self._timer.once(graph.replay)
        for name, array in found.items():
            if not in_range(array):
                raise NoChain(f"not amortised: after {count - 1} launches in a row {name!r} is no longer finite")
        return found

    def _ask_of(self, mode: Mode, given: dict[str, Array], found: dict[str, Array], what: str = "") -> ExampleResult:
        """What a launch group left, given these inputs by the one ahead, against the reference, now or when settled."""
        want = self._ask(self._inputs | given)
        if want is None:
            self.owed.append(Owed(mode, what, given, found))
            return ExampleResult("ok")
        return ruled(self._case.plan, found, want, what)

    def _graph(self, mode: Mode, graph: Graph) -> None:
        self.displaced &= graph.groups.displaces(self._timer.residency)
        asked = self._rule
        rule = replace(
            asked, minimum=min(asked.minimum, FEWEST), warmup_launches=min(asked.warmup_launches, FEWEST // 4)
        )
        count = graph.groups.count
        self.series[mode] = self._collect(mode, count, lambda size: self._timer.replays(graph, size), rule)

    def _check(self, mode: Mode, found: ExampleResult) -> None:
        found = in_mode(mode, found)
        self.after = found if self.after is None else worst((self.after, found))

    def _count_energy(self, graph: Graph, seconds: float) -> None:
        if graph.groups.scrub:
            self.notes.append("no energy: the card's counter would count what keeps these small tensors cold")
            return
        found = measure_energy(self._timer.chunks(graph), self._watch, seconds)
        if isinstance(found, str):
            self.notes.append(f"no energy: {found}")
        else:
            count = graph.groups.count
            self.energy = replace(found, joules=found.joules / count, groups=found.groups * count)

    def _collect(self, mode: Mode, groups: int, take: Callable[[int], Batch], rule: StopRule | None = None) -> Series:
        found = collect_steadily(take, rule or self._rule, self.start, look=self._watch.recount)
        return Series(mode, groups, found.batches, found.warmup, found.stop, found.notes)


def judged(case: DeviceCase, want: dict[str, Array], rotation: int) -> ExampleResult:
    """The outputs of one rotation against the reference."""
    return ruled(case.plan, case.outputs(rotation), want)


def _numbered(entry: str, taken: list[str]) -> str:
    return f"{entry}#{taken.count(entry) + 1}" if entry in taken else entry
