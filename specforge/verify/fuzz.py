"""Fuzzing a kernel: Hypothesis chooses examples and shrinks a failing one, within a wall budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specforge.expressions import Scalar
from specforge.spec.interface import Kernel
from specforge.verify.coverage import describe_coverage
from specforge.verify.covering import least_steps
from specforge.verify.draw import Drawer
from specforge.verify.example import Example
from specforge.verify.session import Caller, Carry, Failure, Session, Stop, Variant


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
) -> FuzzReport:
    """Run up to `examples` examples within `budget` seconds, each of at most `cap` emulated steps, and report.

    Known failures come first and end the search if they still fail. The same kernel, variants, cap and seed give the
    same examples. Shrinking ends after `shrink_seconds`, or with the budget. `device` holds the `device.*` names that
    defaults of tunables use. Raises SpecForgeError where the reference fails or no case satisfies the constraints, and
    passes on what the worker raises beyond crashes, time-outs and kernel faults.
    """
    started = time.monotonic()
    ordered = sorted(variants, key=lambda variant: least_steps(kernel, variant[0]))  # shrinking goes to the first
    session = Session(
        kernel=kernel,
        variants=ordered,
        worker=worker,
        device=dict(device or {}),
        examples=examples,
        deadline=started + budget,
        shrink_seconds=shrink_seconds,
        progress=progress,
    )
    repaired = session.replay(known_failures)
    if session.failure is None and examples > 0:
        drawer = Drawer(kernel, [variant for variant, _ in ordered], cap, session.device)
        session.attempt(drawer.extremes())
        _search(session, drawer, seed)
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
    )


class _Wrong(Exception):
    """Tells Hypothesis that an example failed."""


def _search(session: Session, drawer: Drawer, seed: int) -> None:
    import hypothesis
    from hypothesis import strategies
    from hypothesis.errors import HypothesisException

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
        if not session.execute(*drawn).passed:
            raise _Wrong

    quiet = hypothesis.settings(
        max_examples=2 * session.examples + 10,  # the session ends by count of what was executed; repeats do not count
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
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
    except HypothesisException:  # an example whose second run differs: what was seen to fail still failed
        if session.failure is None:
            raise
