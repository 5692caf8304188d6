"""Counting what became of a kernel's mutants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from specforge.mutate.mutant import Mutant
from specforge.mutate.operators import OPERATORS
from specforge.mutate.outcome import Outcome
from specforge.spec.interface import Kernel


@dataclass(frozen=True, slots=True)
class Row:
    """One operator's counts, or those of all."""

    operator: str
    created: int
    invalid: int
    """Did not compile; these do not count."""
    equivalent: int
    """Same code, or listed in kernel.yaml."""
    killed: Mapping[str, int]
    """By what."""
    survived: int

    @property
    def percent(self) -> float:
        """Killed, of those that compile and are not equivalent; 100 where there are none."""
        killed = sum(self.killed.values())
        return 100.0 * killed / (killed + self.survived) if killed + self.survived else 100.0


@dataclass(frozen=True, slots=True)
class Scored:
    """A kernel's mutants with their outcomes, counted."""

    kernel: Kernel
    original: str
    """The template's text."""
    mutants: Sequence[Mutant]
    outcomes: Mapping[str, Outcome]
    rows: tuple[Row, ...]
    total: Row

    @property
    def percent(self) -> float:
        """The score."""
        return self.total.percent

    def survivors(self) -> list[Mutant]:
        """Mutants that nothing noticed and nobody listed."""
        listed = reasons(self.kernel)
        return [
            mutant
            for mutant in self.mutants
            if self.outcomes[mutant.id].status == "survived" and mutant.id not in listed
        ]


def reasons(kernel: Kernel) -> dict[str, str]:
    """The listed equivalent mutants and why they are."""
    return {entry.mutant: entry.reason for entry in kernel.file.equivalent_mutants}


def score(kernel: Kernel, original: str, mutants: Sequence[Mutant], outcomes: Mapping[str, Outcome]) -> Scored:
    """Count; every mutant has an outcome."""
    listed = reasons(kernel)

    def row(operator: str, chosen: Sequence[Mutant]) -> Row:
        kept = [outcomes[mutant.id] for mutant in chosen]
        states = Counter(
            "equivalent" if outcome.status == "survived" and outcome.mutant in listed else outcome.status
            for outcome in kept
        )
        killed = Counter(outcome.by for outcome in kept if outcome.status == "killed")
        return Row(operator, len(kept), states["invalid"], states["equivalent"], killed, states["survived"])

    groups = [(name, [mutant for mutant in mutants if mutant.operator == name]) for name in OPERATORS]
    rows = tuple(row(name, chosen) for name, chosen in groups if chosen)
    return Scored(kernel, original, mutants, outcomes, rows, row("all", mutants))
