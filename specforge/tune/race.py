"""From many configurations to one: successive halving, then the best few against the default at full precision.

What is timed first is timed loosely. The fastest few are timed again with more care, and the last of them against the
default (and what is in force now) in several fresh processes, each of which times all of them in turn. Times by which
configurations were chosen decide nothing: of many measured, the fastest is partly lucky, and only fresh samples say by
how much it is faster.

The default stays unless something beats it by `compare`'s rule: 1 % at least, and the interval of 99 % excludes 1. What
is in force is replaced by the same rule, so that ties do not change a file from run to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from specforge.measure.compare import TOLERANCE, Comparison, compare
from specforge.measure.estimate import Estimate, estimate
from specforge.tune.search import MOST, search
from specforge.tune.space import Configuration, Space

AGAIN = 8
"""Configurations timed again with more care."""
FINALISTS = 3
"""Of these, how many meet the default."""

Rounds = Sequence[Sequence[float]]
"""Samples by process, in seconds."""


class Clock(Protocol):
    """Times configurations. One that fails, is wrong or cannot be timed is left out of the answer, ever after too."""

    def rough(self, batch: Sequence[Configuration], *, careful: bool) -> Mapping[Configuration, float]:
        """Seconds of each, in one process."""

    def final(self, batch: Sequence[Configuration]) -> Mapping[Configuration, Rounds]:
        """Samples of each at full precision, interleaved in fresh processes."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was found best for one case."""

    winner: Configuration
    default: Configuration
    previous: Configuration | None
    """What was in force, where it is one of this space."""
    tried: int
    """Configurations that were timed, well or not."""
    times: dict[Configuration, Estimate] = field(default_factory=dict)
    """At full precision: of the default, of what was in force and of the finalists."""
    against_default: Comparison | None = None
    """Of the winner, where it is not the default."""
    against_previous: Comparison | None = None
    """Of the winner, where something else was in force."""


class Undecided(Exception):
    """The default itself has no time, so that nothing can be faster; the text says why."""


def race(
    space: Space,
    clock: Clock,
    previous: Configuration | None = None,
    *,
    in_force: bool = True,
    most: int = MOST,
    seed: int = 0,
) -> Decision:
    """Search a space and decide; raises Undecided. `in_force` False: `previous` is a mere hint where to look."""
    default = space.default
    if previous is not None and not space.holds(previous):
        previous = None
    fixed = list(dict.fromkeys([default, *([previous] if previous is not None else [])]))
    times: dict[Configuration, float] = dict(clock.rough([default], careful=False))
    if default not in times:
        raise Undecided("the default configuration could not be timed")
    tried = {default}
    proposals = search(space, fixed, most, seed)
    answer: Mapping[Configuration, float] | None = None
    while True:
        try:
            batch = next(proposals) if answer is None else proposals.send(answer)
        except StopIteration:
            break
        tried.update(batch)
        times.update(clock.rough([one for one in batch if one != default], careful=False))
        answer = {one: times[one] for one in batch if one in times}
    again = _fastest(times, AGAIN)
    finalists = again if len(again) <= FINALISTS else _fastest(clock.rough(again, careful=True), FINALISTS)
    rounds = clock.final(list(dict.fromkeys([*fixed, *finalists])))
    if default not in rounds:
        raise Undecided("the default configuration could not be timed at full precision")
    return _decide(default, previous, in_force=in_force, rounds=rounds, tried=len(tried))


def _fastest(times: Mapping[Configuration, float], count: int) -> list[Configuration]:
    return sorted(times, key=lambda one: times[one])[:count]


def _decide(
    default: Configuration,
    previous: Configuration | None,
    *,
    in_force: bool,
    rounds: Mapping[Configuration, Rounds],
    tried: int,
) -> Decision:
    found = {one: estimate(samples) for one, samples in rounds.items()}
    times = {one: value for one, value in found.items() if value is not None}
    if default not in times:
        raise Undecided("too few samples of the default configuration")

    def versus(one: Configuration, other: Configuration) -> Comparison | None:
        return compare(rounds[other], rounds[one], TOLERANCE)

    def beats(one: Configuration, other: Configuration) -> bool:
        change = versus(one, other) if one != other and one in times else None
        return change is not None and change.verdict == "faster"

    winner = default
    if previous is not None and in_force and beats(previous, default):
        winner = previous
    for one in sorted(times, key=lambda one: times[one].value):
        if beats(one, winner) and beats(one, default):
            winner = one
            break
    return Decision(
        winner,
        default,
        previous,
        tried,
        times,
        versus(winner, default) if winner != default else None,
        versus(winner, previous) if previous is not None and previous != winner and previous in times else None,
    )
