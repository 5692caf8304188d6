"""What is done once in a run of several specs: a kernel is searched and a card calibrated for all, a case run once.

Six cards' specs of one workload use the same kernels and, on the emulator, the same binaries. The first spec that comes
to a kernel searches the binaries of every spec's cases; the others take that report. Their own cases are still run,
each as its card would launch it; those that two specs launch alike are run once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from specforge.check.backends import Choice, choose
from specforge.check.options import Options, select
from specforge.check.plans import executed_plans
from specforge.check.variants import Variant
from specforge.diagnostics import SpecForgeError
from specforge.spec.geometry import Plan
from specforge.spec.interface import Kernel
from specforge.spec.load import Spec
from specforge.verify.fuzz import FuzzReport

if TYPE_CHECKING:
    from specforge.measure.session import Session

Key = tuple[Any, ...]


@dataclass(slots=True)
class Shared:
    """The specs of a run and what is known so far; without specs each kernel is searched for its own cases."""

    specs: tuple[Spec, ...] = ()
    sessions: dict[str, Session] = field(default_factory=dict)
    """By card: its floors and calibration, taken once for all specs."""
    _searches: dict[Key, tuple[FuzzReport, frozenset[Variant]]] = field(default_factory=dict)
    _cases: dict[Key, FuzzReport] = field(default_factory=dict)

    def later(self, spec: Spec, choice: Choice, options: Options) -> Iterator[tuple[Spec, Choice]]:
        """The specs that follow and run on the same backend."""
        for other in self.specs[self.specs.index(spec) + 1 :] if spec in self.specs else ():
            try:
                theirs = choose(options.backend, other)
            except SpecForgeError:  # it ends that spec, when its turn comes
                continue
            if theirs.runner == choice.runner:
                yield other, theirs

    def others(self, kernel: Kernel, spec: Spec, choice: Choice, options: Options) -> list[Plan]:
        """The plans of the other specs' cases of a kernel, of those that run it on the same backend."""
        found: list[Plan] = []
        for other in self.specs:
            cases = [
                case
                for benchmark in select(other, options.only)
                for case in benchmark.cases
                if case.kernel is not None and _key(case.kernel, choice) == _key(kernel, choice)
            ]
            if other is spec or not cases:
                continue
            try:
                theirs = choose(options.backend, other)
            except SpecForgeError:  # it ends that spec, when its turn comes
                continue
            if theirs.runner == choice.runner:
                found += executed_plans(other, cases, theirs).values()
        return found

    def search(self, kernel: Kernel, choice: Choice, needed: frozenset[Variant]) -> FuzzReport | None:
        """The report of a search in this run that had all binaries that are needed; None where there is none."""
        report, searched = self._searches.get(_key(kernel, choice), (None, frozenset()))
        return report if needed <= searched else None

    def keep_search(self, kernel: Kernel, choice: Choice, report: FuzzReport, spec: Spec) -> None:
        """Offer a search to the specs that follow; one that time cut short is not offered."""
        if len(self.specs) > 1 and not report.out_of_time and report.examples:
            searched = frozenset(Variant(kernel, tuple(bindings.items())) for bindings, _ in report.tried)
            self._searches[_key(kernel, choice)] = replace(report, searched_for=spec.name), searched

    def case(self, kernel: Kernel, choice: Choice, plan: Plan) -> FuzzReport | None:
        """What running a case showed that was launched just so in this run."""
        return self._cases.get((*_key(kernel, choice), _launched(kernel, plan)))

    def keep_case(self, kernel: Kernel, choice: Choice, plan: Plan, report: FuzzReport) -> None:
        """Offer a case that ran to the specs that follow."""
        if len(self.specs) > 1 and report.examples:
            self._cases[(*_key(kernel, choice), _launched(kernel, plan))] = report


def sharing(specs: Sequence[Spec], options: Options) -> Shared:
    """What the specs of a run may share. Held-out inputs and a replayed example are each spec's own."""
    alone = options.held_out_seed is not None or options.case is not None
    return Shared(() if alone else tuple(specs))


def _key(kernel: Kernel, choice: Choice) -> Key:
    """Kernels of one folder and one text, on one backend."""
    return choice.runner, kernel.folder.resolve(), kernel.document.sha256, kernel.include_dirs


def _launched(kernel: Kernel, plan: Plan) -> str:
    """All that a launch depends on, and what its result may be off by: not how a card's tunables led to it."""
    compiled = {name: value for name, value in plan.tunables.items() if name in kernel.compile_names()}
    return repr(replace(plan, tunables=compiled, steps=0.0))
