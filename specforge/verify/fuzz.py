"""Fuzzing a kernel: Hypothesis chooses examples and shrinks a failing one, within a wall budget.

The last fifth of the examples climbs: `hypothesis.target` on each output's error as a share of its tolerance. Measured
at 200 examples, same seeds with and without: the router's worst ratio was larger with climbing in 10 of 22 seeds,
larger without in 4, equal in 8. Giving it half of the examples did worse than none (median of 8 seeds 0.098 against
0.119). A planted loss of precision that only a corner of the domain shows was found in 3 of 16 seeds with climbing and
in none without; a rare wrong element, in 5 of 16 either way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from specforge.expressions import Scalar
from specforge.spec.interface import Kernel
from specforge.verify.coverage import describe_coverage
from specforge.verify.covering import least_steps
from specforge.verify.draw import Drawer
from specforge.verify.example import Example
from specforge.verify.session import REPLAY_ROUNDS, Caller, Carry, Failure, Session, Stop, Variant
from specforge.verify.waiver import ENOUGH, Waivers, WaiverUse, inside

TURNS = 3
"""Searches, at most: climbing repeats examples, which are not executed again, until Hypothesis has tried enough."""
CLIMBING = 0.2
"""The last examples, as a share, that go where the error was largest (`hypothesis.target`)."""


@dataclass(frozen=True, slots=True)
class FuzzReport:
    """What fuzzing one kernel did and found."""

    kernel: str
    backend: str
    examples: int
    """Examples that were really executed, shrinking and replays included."""
    seconds: float
    out_of_time: bool
    """The wall budget ended the search, or the shrinking, early."""
    covered: dict[str, str]
    """Per parameter and tunable, what of its domain was executed."""
    worst_ratio: float
    """The largest error of a passing example, as a share of its tolerance."""
    worst: Example | None
    failure: Failure | None
    repaired: tuple[Example, ...]
    """Known failures that pass now."""
    variants: int
    tried: tuple[tuple[dict[str, Scalar], int], ...] = ()
    """Compile bindings of each variant, and how many examples of it were executed."""
    repeated: int = 0
    """Examples that were run again, under another schedule and with fresh values at the same addresses."""
    dropped: int = 0
    """Drawn examples that were left out as `excluded` said."""
    held_out: FuzzReport | None = None
    """What further examples showed that were drawn with a secret; a failure there is this report's, too."""
    inputs: frozenset[str] = frozenset()
    """The rows that were executed, without schedule and offset: what decides the values."""
    waivers: tuple[WaiverUse, ...] = ()
    """What each waiver of kernel.yaml was used for."""
    searched_for: str | None = None
    """The spec in whose turn this search was made, where others of the same run share it."""


def isolate_hypothesis(folder: Path) -> None:
    """Make Hypothesis keep its own files in this folder, not in `.hypothesis` of the working folder; call it once."""
    from hypothesis.configuration import set_hypothesis_home_dir

    set_hypothesis_home_dir(folder)


def fuzz(
    kernel: Kernel,
    variants: Sequence[Variant],
    worker: Caller,
    *,
    examples: int,
    seed: int,
    budget: float,
    cap: float,
    known_failures: Sequence[Example] = (),
    progress: Callable[[int], None] | None = None,
    device: Mapping[str, Scalar] | None = None,
    backend: str = "emulator",
    shrink_seconds: float = 20.0,
    committed: Sequence[Example] = (),
    replayed: Sequence[Variant] = (),
    rounds: int = REPLAY_ROUNDS,
    excluded: Callable[[Example], bool] | None = None,
    singled: Sequence[Mapping[str, Scalar]] = (),
    enough: int = 0,
) -> FuzzReport:
    """Run up to `examples` examples within `budget` seconds, each of at most `cap` emulated steps, and report.

    Committed examples come first, then known failures, these with `rounds` of fresh values; both end the search if
    they fail, and committed ones do not count among `examples`. The same kernel, variants, cap and seed give the same
    examples; variants in `replayed` are for committed and known ones alone. With `excluded`, drawn examples of which it
    is true are left out, and so are the ends of the ranges, which nobody draws. Of the variants `singled` out, `enough`
    examples are run in any case: those that are short of them come last, beyond `examples`. Shrinking ends after
    `shrink_seconds`, or with the budget, and an example under way within GRACE after it. The simplest failure is run
    again in a fresh process. `device` holds the `device.*` names that defaults of tunables use.

    Raises SpecForgeError where the reference fails or no case satisfies the constraints, and passes on what the worker
    raises beyond crashes, time-outs and kernel faults.
    """
    started = time.monotonic()
    ordered = sorted(variants, key=lambda variant: least_steps(kernel, variant[0]))  # shrinking goes to the first
    session = Session(
        kernel=kernel,
        variants=[*ordered, *replayed],
        worker=worker,
        device=dict(device or {}),
        examples=examples,
        deadline=started + budget,
        shrink_seconds=shrink_seconds,
        progress=progress,
        backend=backend,
        excluded=excluded or (lambda _: False),
    )
    waivers = session.waivers = Waivers(kernel, date.today())
    session.replay(committed)  # as often with fresh values as any other: there may be many
    session.examples += session.executed
    repaired = session.replay(known_failures, rounds) if session.failure is None else ()
    if session.failure is None and session.executed < session.examples:
        drawer = Drawer(kernel, [variant for variant, _ in ordered], cap, session.device)
        if excluded is None:
            session.attempt(drawer.extremes())
            for index, use in enumerate(waivers.uses):
                if not use.expired and session.failure is None:
                    session.attempt(inside(kernel, drawer, index, ENOUGH, seed), due=True)
        for turn in range(TURNS):
            if session.failure is None and not session.out_of_time and session.executed < session.examples:
                _search(session, drawer, seed + turn)
    for place, (bound, _) in enumerate(ordered):
        for turn in range(TURNS if dict(bound) in map(dict, singled) else 0):
            short = min(enough, examples) - session.tried[place]
            if short > 0 and session.failure is None and not session.out_of_time:
                session.examples = session.executed + short
                _search(session, Drawer(kernel, [bound], cap, session.device), seed + turn, place)
    session.explain()
    return FuzzReport(
        kernel=kernel.identity,
        backend=backend,
        examples=session.executed,
        seconds=time.monotonic() - started,
        out_of_time=session.out_of_time,
        covered=describe_coverage(kernel, session.cases),
        worst_ratio=session.worst_ratio,
        worst=session.worst,
        failure=session.failure,
        repaired=repaired,
        variants=len(variants),
        tried=tuple((dict(bound), session.tried[place]) for place, (bound, _) in enumerate(ordered)),
        repeated=session.repeated,
        dropped=session.dropped,
        inputs=frozenset(session.inputs),
        waivers=tuple(waivers.uses),
    )


class _Wrong(Exception):
    """Tells Hypothesis that an example failed."""


def _search(session: Session, drawer: Drawer, seed: int, first: int = 0) -> None:
    """Search as far as the session's examples go; `first` is the place of the drawer's first variant among its own."""
    import hypothesis
    from hypothesis import strategies
    from hypothesis.errors import HypothesisException, Unsatisfiable

    # Hypothesis mixes constants of loaded modules into small integers, and prefers those near zero. Far from both, a
    # draw depends on the seed alone and is uniform.
    base = 3**50

    def check(data: strategies.DataObject) -> None:
        # Below the level of strategies: Hypothesis makes most of its examples by copying what one strategy drew over
        # what another of the same kind did, and a seed is no sensible context length.
        choices = data.conjecture_data
        drawn = drawer.draw(
            lambda most: choices.draw_integer(base, base + most, shrink_towards=base) - base if most else 0
        )
        if drawn is None:
            session.reject()
            hypothesis.reject()
        assert drawn is not None
        if session.excluded(drawn[1]):
            session.drop()
            hypothesis.reject()
        result = session.execute(first + drawn[0], drawn[1])
        if not result.passed:
            raise _Wrong
        for error in result.errors:
            if error.ratio:  # exact outputs have nothing to climb
                hypothesis.target(error.ratio, label=error.output)

    quiet = hypothesis.settings(
        # The session ends by count of what was executed. At half of this number Hypothesis turns from drawing to
        # climbing (above a thousand it does both by turns), so the last share is for that.
        max_examples=max(10, round(2 * (1 - CLIMBING) * (session.examples - session.executed))),
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.target, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
        report_multiple_bugs=False,
        print_blob=False,
        derandomize=False,
    )
    try:
        hypothesis.seed(seed)(quiet(hypothesis.given(strategies.data())(check)))()
    except (Stop, _Wrong):
        pass  # the session knows the simplest failure
    except Carry as carried:
        raise carried.error from None
    except Unsatisfiable:
        if not session.dropped:
            raise
    except HypothesisException:  # an example whose second run differs: what was seen to fail still failed
        if session.failure is None:
            raise
