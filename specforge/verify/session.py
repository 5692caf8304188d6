"""Executing examples within a wall budget, each once, and keeping what the report needs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from specforge.diagnostics import fail
from specforge.expressions import Scalar
from specforge.spec.geometry import Plan
from specforge.spec.interface import Kernel
from specforge.verify.example import Example, ExampleResult, bindings, plan_example, run_example

R = TypeVar("R")

Variant = tuple[Mapping[str, Scalar], str]
"""Compile bindings and the path of the binary built with them."""

REJECTIONS = 100
GRACE = 5.0
"""Seconds by which an example under way may outlast the budget."""


class Caller(Protocol):
    """The part of a Worker that fuzzing uses."""

    def call(self, task: Callable[[Any, Any], R], payload: Any, *, timeout: float) -> R:  # noqa: ANN401 - as the worker's
        """Run a task in the worker's process; `timeout` in seconds."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The simplest failing example that was found, and what it showed."""

    example: Example
    result: ExampleResult


class Stop(BaseException):
    """Examples or time are used up. No Exception, which Hypothesis would take for a failing example."""


class Carry(BaseException):
    """Brings an error that is no kernel's fault out of Hypothesis, unshrunk."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True, kw_only=True)
class Session:
    """One kernel's examples; `deadline` is a time of `time.monotonic`, and comes earlier once something failed."""

    kernel: Kernel
    variants: Sequence[Variant]
    worker: Caller
    device: Mapping[str, Scalar]
    examples: int
    deadline: float
    shrink_seconds: float
    progress: Callable[[int], None] | None
    executed: int = 0
    rejected: int = 0
    out_of_time: bool = False
    cases: list[dict[str, Scalar]] = field(default_factory=list)
    tried: Counter[int] = field(default_factory=Counter)
    """Examples executed, by the variant's place."""
    worst_ratio: float = 0.0
    worst: Example | None = None
    failure: Failure | None = None
    _simplicity: tuple[object, ...] = ()
    _results: dict[str, ExampleResult] = field(default_factory=dict)

    def replay(self, known: Sequence[Example]) -> tuple[Example, ...]:
        """Run known failures whose variant is at hand; return those that pass now, up to the first that still fails."""
        repaired = []
        for example in known:
            wanted = bindings(self.kernel, example, self.device)
            place = next((place for place, (bound, _) in enumerate(self.variants) if dict(bound) == wanted), None)
            if place is None:
                continue
            try:
                result = self.execute(place, example)
            except Stop:
                break
            except Carry as carried:
                raise carried.error from None
            if not result.passed:
                break
            repaired.append(example)
        return tuple(repaired)

    def attempt(self, chosen: Sequence[tuple[int, Example, str | None]]) -> None:
        """Run examples that nobody drew, up to the first that fails; what was largest in that one is then bisected."""
        try:
            for variant, example, largest in chosen:
                if not self.execute(variant, example).passed:
                    if largest is not None:
                        self._bisect(variant, example, largest)
                    break
        except Stop:
            return
        except Carry as carried:
            raise carried.error from None

    def _bisect(self, variant: int, example: Example, name: str) -> None:
        """Look for the least value of a parameter with which the example fails; a search that follows may beat it."""
        high, domain = example.parameters[name], self.kernel.file.parameters[name].domain
        low = domain.low
        if domain.listed or not isinstance(high, int):
            return
        while high - low > 1:
            middle = (low + high) // 2
            smaller = replace(example, parameters={**example.parameters, name: middle})
            if self._allowed(smaller) and not self.execute(variant, smaller).passed:
                high = middle
            else:
                low = middle

    def _allowed(self, example: Example) -> bool:
        return all(constraint.that.truth(example.parameters) for constraint in self.kernel.file.constraints)

    def reject(self) -> None:
        """Note a drawn case that satisfies no constraint; too many of them, and none that does, end the search."""
        self.rejected += 1
        if self.executed == 0 and self.rejected >= REJECTIONS:
            where = self.kernel.document.at(("constraints",), key=True)
            message = f"none of {REJECTIONS} cases drawn for {self.kernel.identity} satisfies its constraints"
            raise Carry(fail("SF409", message, where, hint="state them so that most cases within the domains do"))
        self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() >= self.deadline:
            self.out_of_time = True
            raise Stop

    def execute(self, variant: int, example: Example) -> ExampleResult:
        """Run an example, or recall its result; leaves by Stop when examples or time are used up."""
        row = example.to_row()
        if row in self._results:
            return self._results[row]
        self._check_time()
        if self.failure is None and self.executed >= self.examples:
            raise Stop
        try:
            case = plan_example(self.kernel, example, self.device)
            result = self._call(case, self.variants[variant][1], example)
        except Exception as error:
            raise Carry(error) from error
        self.tried[variant] += 1
        self._note(row, case, example, result)
        return result

    def _call(self, case: Plan, binary: str, example: Example) -> ExampleResult:
        from specforge.backend.runner import KernelFault
        from specforge.backend.worker import WorkerCrashed, WorkerTimeout

        limit = time_limit(case)
        timeout = min(limit, self.deadline - time.monotonic() + GRACE)
        try:
            return self.worker.call(run_example, (case, binary, example), timeout=timeout)
        except KernelFault as fault:
            return ExampleResult("fault", str(fault))
        except WorkerTimeout as late:
            if timeout < limit:
                self.out_of_time = True
                raise Stop from None
            return ExampleResult("fault", f"hang: {late}")
        except WorkerCrashed as crash:
            return ExampleResult("fault", describe_crash(crash.reason, crash.output))

    def _note(self, row: str, case: Plan, example: Example, result: ExampleResult) -> None:
        self.executed += 1
        self._results[row] = result
        self.cases.append({**case.parameters, **case.tunables})
        if result.passed:
            if self.worst is None or result.ratio > self.worst_ratio:
                self.worst_ratio, self.worst = result.ratio, example
        else:
            simplicity = _simplicity(case, example)
            if self.failure is None:
                self.deadline = min(self.deadline, time.monotonic() + self.shrink_seconds)
            if self.failure is None or simplicity < self._simplicity:
                self.failure, self._simplicity = Failure(example, result), simplicity
        if self.progress is not None:
            self.progress(self.executed)


def _simplicity(case: Plan, example: Example) -> tuple[object, ...]:
    """Smaller is easier to read and quicker to run."""
    return (
        case.steps,
        len(example.tunables) + len(example.values),
        example.offset,
        example.schedule,
        example.seed,
        example.to_row(),
    )


def time_limit(case: Plan) -> float:
    """Seconds after which an example counts as hanging: a hundred times what so many steps take to emulate."""
    return 15.0 + case.steps / 1e5


_SIGNALS = {
    "SIGSEGV": "illegal memory access",
    "SIGBUS": "illegal memory access",
    "SIGABRT": "aborted: an assertion or a heap that was overwritten",
    "SIGFPE": "integer division by zero",
    "SIGILL": "trap",
    "SIGTRAP": "trap",
    "SIGKILL": "killed, perhaps for want of memory",
}


def describe_crash(reason: str, output: str) -> str:
    """A crash in words: what the signal means, its name and the last line that the process printed."""
    meaning = next((text for name, text in _SIGNALS.items() if name in reason), "the process ended")
    lines = [line for line in output.splitlines() if line.strip()]
    return f"{meaning} ({reason}{': ' + lines[-1].strip() if lines else ''})"
