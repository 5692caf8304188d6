"""One case on both sides: tasks for a worker with the card and for one with the emulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from specforge.backend.runner import KernelFault, Runner
from specforge.parity.bits import Difference, compare_bits
from specforge.parity.builds import Name
from specforge.spec.geometry import Plan
from specforge.verify.compare import judge
from specforge.verify.example import Example, draw_inputs
from specforge.verify.reference import call_reference

if TYPE_CHECKING:
    from specforge.verify.compare import Array

Outputs = dict[Name, "dict[str, Array] | str"]
"""By build: the outputs in storage types, or what went wrong instead."""


class CaseTask(NamedTuple):
    """A case with its binaries by build; `card` is what the other side computed, empty for the card itself."""

    case: Plan
    example: Example
    binaries: dict[Name, str]
    card: Outputs


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """One case in one build. `failure` is a sentence, None where the two sides agree as this build must.

    `ratios` are the worst errors against the reference, as shares of the tolerance, on the card and on the emulator.
    """

    differences: tuple[Difference, ...]
    ratios: tuple[float, float]
    failure: str | None


def run_builds(runner: Runner, task: CaseTask) -> Outputs:
    """Run each build of a case on this runner, on the same inputs."""
    case, example = task.case, task.example
    inputs = draw_inputs(case, example)
    found: Outputs = {}
    for name, binary in task.binaries.items():
        try:
            execution = runner.run(case, binary, inputs, schedule=example.schedule, offset=example.offset)
        except KernelFault as fault:
            if fault.poisoned:
                raise
            found[name] = str(fault)
        else:
            found[name] = "; ".join(execution.violations) or execution.outputs
    return found


def compare_sides(runner: Runner, task: CaseTask) -> dict[Name, BuildOutcome]:
    """Run each build on the emulator and compare with what the card computed; see `BuildOutcome`."""
    emulated = run_builds(runner, task)
    want = call_reference(task.case, draw_inputs(task.case, task.example))
    found: dict[Name, BuildOutcome] = {}
    for name, theirs in task.card.items():
        ours = emulated[name]
        if isinstance(theirs, str) or isinstance(ours, str):
            sides = (("the card", theirs), ("the emulator", ours))
            told = "; ".join(f"on {side}: {what}" for side, what in sides if isinstance(what, str))
            found[name] = BuildOutcome((), (0.0, 0.0), told)
            continue
        differences = compare_bits(task.case, theirs, ours)
        errors = [(side, judge(task.case, outputs, want)) for side, outputs in (("card", theirs), ("emulator", ours))]
        complaints = [f"on the {side}: {error}" for side, several in errors for error in several if not error.passed]
        complaints += [str(each) for each in differences if each.unequal and _must_equal(task.case, each.output, name)]
        ratios = [max(error.ratio for error in several) for _, several in errors]
        found[name] = BuildOutcome(differences, (ratios[0], ratios[1]), "; ".join(complaints) or None)
    return found


def _must_equal(case: Plan, output: str, build: Name) -> bool:
    """Floats agree in every bit in the parity build; what is exact in every build, and whole numbers, but where
    rounding may tip them."""
    bound = case.tolerances[output]
    return build == "parity" or bound.exact or not (case.buffer(output).element.is_float or bound.conditioned)
