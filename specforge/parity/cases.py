"""Cases of one kernel, drawn as fuzzing draws them, before any of them is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from specforge.diagnostics import fail
from specforge.expressions import Scalar
from specforge.spec.interface import Kernel
from specforge.verify.draw import Drawer
from specforge.verify.example import Example

_BASE = 3**50  # far from zero and from any constant of a module, where Hypothesis draws uniformly (verify/fuzz.py)


def draw_cases(
    kernel: Kernel,
    variants: Sequence[Mapping[str, Scalar]],
    count: int,
    *,
    seed: int,
    cap: float,
    device: Mapping[str, Scalar],
) -> list[tuple[int, Example]]:
    """Up to `count` distinct examples of at most `cap` emulated steps, each with its variant's place.

    The least case and the largest ones come first. Fewer are returned where the domain has no more. The same arguments
    give the same cases. Raises SF409 where nothing satisfies the kernel's constraints.
    """
    import hypothesis
    from hypothesis import strategies

    drawer = Drawer(kernel, variants, cap, device)
    found = {example.to_row(): (place, example) for place, example, _ in drawer.extremes()}

    def collect(data: strategies.DataObject) -> None:
        choices = data.conjecture_data
        drawn = drawer.draw(
            lambda most: choices.draw_integer(_BASE, _BASE + most, shrink_towards=_BASE) - _BASE if most else 0
        )
        if drawn is None:
            hypothesis.reject()
        assert drawn is not None
        found.setdefault(drawn[1].to_row(), drawn)

    quiet = hypothesis.settings(
        max_examples=2 * count + 10,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate,),
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
        derandomize=False,
    )
    with suppress(hypothesis.errors.Unsatisfiable):
        hypothesis.seed(seed)(quiet(hypothesis.given(strategies.data())(collect)))()
    if not found:
        where = kernel.document.at(("constraints",), key=True)
        raise fail("SF409", f"no case drawn for {kernel.identity} satisfies its constraints", where)
    return list(found.values())[:count]
