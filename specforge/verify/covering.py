"""Choosing few compile variants, since each costs a compilation, so that every compile value is met at least once."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence

from specforge.diagnostics import fail
from specforge.expressions import Scalar
from specforge.spec.domain import Domain
from specforge.spec.interface import Kernel

CANDIDATES = 4000
"""Combinations looked at; where there are more, a random sample of this many."""


FEWEST = 6
"""Variants that are worth their compilation in any case: what goes wrong often takes two values together."""


def cover(
    kernel: Kernel, preferred: Sequence[Mapping[str, Scalar]], seed: int, fewest: int = FEWEST
) -> list[dict[str, Scalar]]:
    """Compile bindings: the preferred ones first, then about as few more as meet every value of every compile name.

    Up to `fewest` variants, more are added for the pairs of values that they meet. Constraints hold in each; a value
    that no allowed combination has is left out. Among combinations that add equally much the cheapest to emulate is
    taken, so that large cases have a small variant to run in. The same kernel, preferences and seed give the same list.
    Raises SF409 where no combination at all is allowed.
    """
    every = domains(kernel)
    axes = {name: every[name].edges() for name in kernel.compile_names()}
    chosen = list({tuple(variant[name] for name in axes): None for variant in preferred})
    candidates = list(_candidates(kernel, axes, random.Random(seed)))
    candidates.sort(key=lambda variant: least_steps(kernel, dict(zip(axes, variant, strict=True))))
    for size, limit in ((1, len(candidates)), (2, fewest - 1)):
        _add(chosen, candidates, size, limit)
    if not chosen:
        raise fail(
            "SF409",
            f"no combination of compile parameters of {kernel.identity} satisfies its constraints",
            kernel.document.at(("constraints",)),
        )
    return [dict(zip(axes, variant, strict=True)) for variant in chosen]


def _add(chosen: list[tuple[Scalar, ...]], candidates: Sequence[tuple[Scalar, ...]], size: int, limit: int) -> None:
    """Add candidates, greedily, for the combinations of `size` values they meet, while at most `limit` are chosen."""
    sets = [frozenset(itertools.combinations(enumerate(variant), size)) for variant in candidates]
    met = {met for variant in chosen for met in itertools.combinations(enumerate(variant), size)}
    while candidates and (len(chosen) <= limit or not chosen):
        place = max(range(len(candidates)), key=lambda index: len(sets[index] - met))
        if chosen and not sets[place] - met:
            break
        chosen.append(candidates[place])
        met |= sets[place]


def domains(kernel: Kernel) -> dict[str, Domain]:
    """The domain of every parameter and tunable, in the kernel's order."""
    found: dict[str, Domain] = {name: parameter.domain for name, parameter in kernel.file.parameters.items()}
    return found | {name: tunable.domain for name, tunable in kernel.file.tunables.items()}


def least_steps(kernel: Kernel, variant: Mapping[str, Scalar]) -> float:
    """Emulated steps of a variant's smallest case, with launch tunables at their least: a way to order variants."""
    least = {
        name: min(domain.edges(), key=lambda value: value if isinstance(value, int) else 0)
        for name, domain in domains(kernel).items()
    }
    known = {**least, **variant}
    return kernel.file.emulation.steps.number(known)


def _candidates(
    kernel: Kernel, axes: Mapping[str, tuple[Scalar, ...]], rng: random.Random
) -> Iterator[tuple[Scalar, ...]]:
    """Allowed combinations in random order: all of them where they are few."""
    total = math.prod(len(values) for values in axes.values())
    if total <= CANDIDATES:
        every = list(itertools.product(*axes.values()))
        rng.shuffle(every)
    else:
        # Each value once more than the sample would meet it, so that a long list is not left uncovered by chance.
        every = [tuple(rng.choice(values) for values in axes.values()) for _ in range(CANDIDATES)]
        for place, values in enumerate(axes.values()):
            for value in values:
                every += [(*row[:place], value, *row[place + 1 :]) for row in every[:16]]
    for variant in every:
        if _allowed(kernel, dict(zip(axes, variant, strict=True))):
            yield variant


def _allowed(kernel: Kernel, variant: Mapping[str, Scalar]) -> bool:
    """Whether the constraints over compile parameters hold, and those with launch parameters can."""
    for constraint in kernel.file.constraints:
        names = constraint.that.names()
        undecided = [name for name in names if name not in variant]
        near = [variant[name] for name in names if name in variant]
        trials = itertools.product(*(_trials(kernel, name, near) for name in undecided))
        bound = ({**variant, **dict(zip(undecided, trial, strict=True))} for trial in itertools.islice(trials, 4096))
        if not any(constraint.that.truth(values) for values in bound):
            return False
    return True


def _trials(kernel: Kernel, name: str, near: Sequence[Scalar]) -> list[Scalar]:
    """Values of a launch parameter likely to satisfy a constraint: those it is compared with, edges, the least ones."""
    parameter = kernel.file.parameters[name]
    domain: Domain = parameter.domain
    wanted = (*near, *domain.edges(), *parameter.edges, *range(domain.low, domain.low + 16))
    return [value for value in dict.fromkeys(wanted) if value in domain]
