"""Checking the checker of one kernel: corruptions are tried on cases of several sizes before the kernel is judged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from specforge.backend.runner import Runner
from specforge.backend.worker import Worker, WorkerCrashed, WorkerTimeout
from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail
from specforge.expressions import Scalar
from specforge.spec.geometry import Plan, plan, resolve_tunables
from specforge.spec.interface import Kernel
from specforge.verify.example import Example
from specforge.verify.reduction import gaps
from specforge.verify.session import GRACE
from specforge.verify.trial import RIGHT, Trial, check_tolerances, prepare, time_reference

T = TypeVar("T")
R = TypeVar("R")

CHECK_SECONDS = 300.0
"""The longest that references may take for one case."""
REFERENCE_SECONDS = 1.0
"""The longest that one call of the reference may take on the largest case: it is called some ten times."""
SHARE = 120
"""That call takes at most the wall budget over this: on the two largest cases there are some twenty in all."""
LARGEST = 1 << 28
"""Bytes of the inputs of the largest case."""
LESSER = 1 << 23
"""Bytes of the inputs of any other case, as far as the same tolerances are those of a smaller one."""
GROWTH = 8
"""Factor from one size to the next while the largest is looked for."""


def examine(kernel: Kernel, cases: Sequence[Plan], variants: Sequence[Mapping[str, Scalar]], benches: Benches) -> bool:
    """Refuse a kernel file whose tolerances let a known corruption pass, or reject the best possible result.

    Tried on the least of the spec's cases (a part of it that has the same tolerances, where it is large), on the same
    in every variant, and along each axis that is summed over and grows from case to case: at the largest size whose
    reference takes about a second, and half way to it. Raises SF509 with every corruption that passes, and SF507 where
    the reference ends its process. Returns whether all was tried: the deadline may come first.
    """
    least, largest = (choose(cases, key=lambda case: case.steps) for choose in (min, max))
    limit = min(REFERENCE_SECONDS, benches.seconds / SHARE)
    steps: list[_Step] = [
        partial(_try, kernel, least),
        *(partial(_try_variant, kernel, least, choice) for choice in variants),
        *(partial(_try_sizes, kernel, largest, axis, limit) for axis in _growing(kernel, largest)),
    ]
    try:
        for found in benches.each(lambda step: step(benches), steps):
            if found:
                raise SpecForgeError(*found)
    except Late:
        return False
    except (WorkerTimeout, WorkerCrashed) as error:
        row, message = Example(least.parameters).to_row(), f"the reference ended its process: {error}"
        raise fail("SF507", message, Position(kernel.reference), value=row) from None
    return True


class Late(Exception):
    """The deadline came before a case was tried."""


class Benches(Protocol):
    """Where steps are tried, one after another or side by side."""

    @property
    def seconds(self) -> float:
        """How long they may take."""

    def lend(self) -> AbstractContextManager[Bench]:
        """A bench of one's own for a while."""

    def each(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """What a step gives for each item, in order."""


_Step = Callable[[Benches], list[Diagnostic]]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where references are called, with which seed, and until when; `device` holds the `device.*` names.

    As `Benches` it is the only one: steps are tried one after another, as they are asked for.
    """

    worker: Worker
    device: Mapping[str, Scalar]
    seed: int
    deadline: float

    def call(self, task: Callable[[Runner, T], R], payload: T) -> R:
        """As the worker's; raises Late where the deadline is what ended it."""
        try:
            return self.worker.call(task, payload, timeout=min(CHECK_SECONDS, max(0.001, self.seconds + GRACE)))
        except WorkerTimeout:
            if self.seconds <= 0:
                raise Late from None
            raise

    @property
    def seconds(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def lend(self) -> AbstractContextManager[Bench]:
        """This one."""
        return nullcontext(self)

    def each(self, step: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """What the step gives for each item; an item's turn comes when it is asked for."""
        return map(step, items)


def _try(kernel: Kernel, case: Plan, benches: Benches, only: str | None = None) -> list[Diagnostic]:
    with benches.lend() as bench:
        case = case if only else _lesser(kernel, case, bench.device)
        example = Example(case.parameters, seed=bench.seed)
        task = prepare(kernel, case, example, least=only is None, only=only)
        trials = bench.call(check_tolerances, task)
    return [_survived(kernel, trial, example) for trial in trials if trial.outcome == "survived"]


def _lesser(kernel: Kernel, case: Plan, device: Mapping[str, Scalar]) -> Plan:
    """A case with the very tolerances of this one, and less to read where that has much: fewer rows of a matrix."""
    for name, size in case.parameters.items():
        fewer = size if type(size) is int else 0
        while fewer > 1 and _given(case) > LESSER:
            fewer //= 2
            parameters = case.parameters | {name: fewer}
            if _is_case(kernel, parameters):
                other = plan(kernel, parameters, resolve_tunables(kernel, parameters, device))
                if other.tolerances != case.tolerances or _given(other) >= _given(case):
                    break
                case = other
    return case


def _is_case(kernel: Kernel, parameters: Mapping[str, Scalar]) -> bool:
    declared = kernel.file.parameters
    inside = all(value in declared[name].domain for name, value in parameters.items())
    return inside and all(constraint.that.truth(parameters) for constraint in kernel.file.constraints)


def _given(case: Plan) -> int:
    """Bytes of a case's inputs."""
    return sum(buffer.nbytes for buffer in case.buffers if buffer.is_given)


def _try_variant(kernel: Kernel, least: Plan, choice: Mapping[str, Scalar], benches: Benches) -> list[Diagnostic]:
    with benches.lend() as bench:
        case = _variant(kernel, least, choice, bench)
        return [] if case is None else _try(kernel, case, bench)


def _try_sizes(kernel: Kernel, largest: Plan, axis: str, limit: float, benches: Benches) -> list[Diagnostic]:
    with benches.lend() as bench:
        sizes = _sizes(kernel, largest, axis, bench, limit)
    return [found for here in benches.each(lambda case: _try(kernel, case, benches, axis), sizes) for found in here]


def _variant(kernel: Kernel, least: Plan, choice: Mapping[str, Scalar], bench: Bench) -> Plan | None:
    """The case in another variant; None where it is the same, or no case."""
    parameters = least.parameters | {name: value for name, value in choice.items() if name in least.parameters}
    if parameters == least.parameters:
        return None
    if not _is_case(kernel, parameters):
        return None
    tunables = {name: value for name, value in choice.items() if name in kernel.file.tunables}
    return plan(kernel, parameters, resolve_tunables(kernel, parameters, bench.device) | tunables)


def _growing(kernel: Kernel, case: Plan) -> list[str]:
    """Launch parameters that are summed over."""
    known = [gap[0].axis for gap in gaps(kernel, case) if isinstance(gap, tuple)]
    parameters = kernel.file.parameters
    return [name for name in known if name in parameters and parameters[name].bind == "launch"]


def _sizes(kernel: Kernel, case: Plan, axis: str, bench: Bench, limit: float) -> list[Plan]:
    """The case with an axis half way to the largest size and at it, other launch parameters at their least."""
    file = kernel.file
    least = {
        name: min(parameter.domain.edges(), key=lambda value: (isinstance(value, str), value))
        for name, parameter in file.parameters.items()
        if parameter.bind == "launch"
    }
    high = max(value for value in file.parameters[axis].domain.edges() if isinstance(value, int))

    def sized(size: int) -> Plan | None:
        parameters = case.parameters | least | {axis: size}
        if not _is_case(kernel, parameters):
            return None
        shape = plan(kernel, parameters, resolve_tunables(kernel, parameters, bench.device))
        return shape if _given(shape) <= LARGEST else None

    start = size = min(high, 1024)
    found: list[tuple[int, Plan]] = []
    while (shape := sized(size)) is not None:
        seconds = bench.call(time_reference, (shape, Example(shape.parameters)))
        if seconds > limit:
            break
        found.append((size, shape))
        if size == high or seconds * 2 > limit:
            break
        size = min(high, size * (GROWTH if seconds * GROWTH < limit else 2))
    if not found:
        return []
    half = sized(1 << round(math.log2(math.sqrt(start * found[-1][0]))))
    return [shape for shape in (half, found[-1][1]) if shape is not None]


def _survived(kernel: Kernel, trial: Trial, example: Example) -> Diagnostic:
    where = kernel.document.at(("tolerance", trial.output.partition(",")[0]))
    row = f"in {example.to_row()}"
    if trial.corruption == RIGHT:
        message = f"the tolerance of {trial.output!r} rejects {RIGHT}, by {trial.ratio:.3g}x: {trial.reason}"
        hint = "no kernel could pass it: allow at least for the output's rounding"
        return Diagnostic("SF509", message, where, row, hint)
    message = f"the tolerance of {trial.output!r} lets this pass: {trial.corruption}, at worst {trial.reason}"
    hint = f"its error is {trial.ratio:.3g}x the tolerance; to reject it, {trial.cure}"
    return Diagnostic("SF509", message, where, row, hint)
