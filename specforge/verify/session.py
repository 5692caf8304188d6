"""Executing examples within a wall budget, each once, and keeping what the report needs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from specforge.diagnostics import SpecForgeError, fail
from specforge.expressions import Scalar
from specforge.spec.geometry import Plan
from specforge.spec.interface import Kernel
from specforge.verify.crash import describe_crash
from specforge.verify.example import (
    NATURAL,
    Example,
    ExampleResult,
    Task,
    bindings,
    plan_example,
    run_example,
)
from specforge.verify.waiver import Waivers

R = TypeVar("R")

Variant = tuple[Mapping[str, Scalar], str]
"""Compile bindings and the path of the binary built with them."""

REJECTIONS = 100
GRACE = 5.0
"""Seconds by which an example under way may outlast the budget."""
SHARE = 0.25
"""Cost of second and third runs (another schedule; fresh values), as a share of that of first runs."""
OVERHEAD = 2e6
"""What an example costs beside its emulation (drawing, the reference, the worker's answer), as emulated steps."""
AGAIN = 4e5
"""The same of a second or third run, which needs no answer of its own."""
REPLAY_ROUNDS = 8
"""Launches with fresh values when a known failure is replayed: it may be one that only later launches show."""
REPLAY_STEPS = 1e8
"""Emulated steps that these may take, about half a second; one launch they are in any case."""


class Caller(Protocol):
    """The part of a Worker that fuzzing uses."""

    def call(self, task: Callable[[Any, Any], R], payload: Any, *, timeout: float) -> R:  # noqa: ANN401 - as the worker's
        """Run a task in the worker's process; `timeout` in seconds."""

    def restart(self) -> None:
        """End the process, so that the next task finds a fresh one."""


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
    backend: str = "emulator"
    excluded: Callable[[Example], bool] = lambda _: False
    """Which drawn examples are left out."""
    waivers: Waivers | None = None
    executed: int = 0
    repeated: int = 0
    """Examples that were run again, under another schedule and with fresh values."""
    rejected: int = 0
    dropped: int = 0
    """Drawn examples that were left out."""
    out_of_time: bool = False
    cases: list[dict[str, Scalar]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    """Rows of what was executed, without schedule and offset."""
    tried: Counter[int] = field(default_factory=Counter)
    """Examples executed, by the variant's place."""
    worst_ratio: float = 0.0
    worst: Example | None = None
    failure: Failure | None = None
    _variant: int = 0
    _rounds: int | None = None
    _cost: float = 0.0
    _extra_cost: float = 0.0
    _simplicity: tuple[object, ...] = ()
    _results: dict[str, ExampleResult] = field(default_factory=dict)

    def replay(self, known: Sequence[Example], rounds: int | None = None) -> tuple[Example, ...]:
        """Run examples whose variant is at hand; return those that pass, up to the first that does not.

        All of them, however few examples were asked for. `rounds` of fresh values each; None leaves that to the share.
        """
        passed = []
        self._rounds = rounds
        try:
            for example in known:
                wanted = bindings(self.kernel, example, self.device)
                place = next((place for place, (bound, _) in enumerate(self.variants) if dict(bound) == wanted), None)
                if place is None:
                    continue
                result = self.execute(place, example, due=True)
                if not result.passed:
                    break
                if result.failure is None:  # a waived one is no repaired one
                    passed.append(example)
        except Stop:
            pass
        except Carry as carried:
            raise carried.error from None
        finally:
            self._rounds = None
        return tuple(passed)

    def attempt(self, chosen: Sequence[tuple[int, Example, str | None]], *, due: bool = False) -> None:
        """Run chosen examples, up to the first that fails; what was largest in that one is then bisected."""
        try:
            for variant, example, largest in chosen:
                if not self.execute(variant, example, due=due).passed:
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

    def drop(self) -> None:
        """Note a drawn example that is left out."""
        self.dropped += 1
        self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() >= self.deadline:
            self.out_of_time = True
            raise Stop

    def execute(self, variant: int, example: Example, *, due: bool = False) -> ExampleResult:
        """Run an example, or recall its result; leaves by Stop when time or, unless it is due, examples are used up."""
        row = example.to_row()
        if row in self._results:
            return self._results[row]
        self._check_time()
        if self.failure is None and self.executed >= self.examples and not due:
            raise Stop
        try:
            case = plan_example(self.kernel, example, self.device)
            rounds = self._choose_rounds(case)
            result = self._waive(case, variant, example, self._call(case, variant, example, rounds))
        except Exception as error:
            raise Carry(error) from error
        self.tried[variant] += 1
        self.repeated += rounds > 0
        self._note(row, case, variant, example, result)
        return result

    def _waive(self, case: Plan, variant: int, example: Example, result: ExampleResult) -> ExampleResult:
        """What the kernel's waivers leave of a result."""
        known = {**case.parameters, **case.tunables}
        if self.waivers is None or not self.waivers.around(known):
            return result
        if result.kind == "wrong" and not self._is_steady(case, variant, example, result):
            return result
        return self.waivers.weigh(known, result.example or example, result)

    def _is_steady(self, case: Plan, variant: int, example: Example, result: ExampleResult) -> bool:
        """Whether a wrong value depends on the inputs alone: not on the order of threads, nor on launches before."""
        shown = result.example or example
        if result.example is not None and shown.inputs_row() == example.inputs_row():
            return False
        if result.example is None and shown.schedule == NATURAL:
            return True
        if result.example is not None:
            self.worker.restart()
        return self._call(case, variant, replace(shown, schedule=NATURAL), 0).kind == "wrong"

    def _choose_rounds(self, case: Plan) -> int:
        """How often an example is run again with fresh values; 0 also leaves out the other schedule.

        Within the share, so that many small examples are and some large ones; which ones follows from the examples
        before, not from the clock. Shrinking repeats where nothing else would show the failure.
        """
        if self._rounds is not None:
            return min(self._rounds, max(1, int(REPLAY_STEPS / case.steps)))
        if self.failure is not None:
            result = self.failure.result
            return int(_is_schedule(result) or result.example is not None)
        price = 2 * (case.steps + AGAIN)
        self._cost += case.steps + OVERHEAD
        if self._extra_cost + price > SHARE * self._cost:
            return 0
        self._extra_cost += price
        return 1

    def _call(self, case: Plan, variant: int, example: Example, rounds: int) -> ExampleResult:
        from specforge.backend.runner import KernelFault
        from specforge.backend.worker import WorkerCrashed, WorkerTimeout

        limit = time_limit(case)
        timeout = min(limit, self.deadline - time.monotonic() + GRACE)
        if timeout <= 0:
            raise Stop
        task = Task(case, self.variants[variant][1], example, rounds, self.kernel.file.varies is not None)
        try:
            return self.worker.call(run_example, task, timeout=timeout)
        except KernelFault as fault:
            return ExampleResult("fault", str(fault))
        except WorkerTimeout as late:
            if timeout < limit:
                self.out_of_time = True
                raise Stop from None
            return ExampleResult("fault", f"hang: {late}")
        except WorkerCrashed as crash:
            return ExampleResult("fault", describe_crash(crash.reason, crash.output))

    def explain(self) -> None:
        """Run the failing example alone: what is right in a fresh process, or another order, fails for that reason."""
        if self.failure is None or not self.failure.result.errors or _is_schedule(self.failure.result):
            return  # a crash or a hang would only cost another process
        from specforge.backend.worker import TaskFailed

        example, result = self.failure.example, self.failure.result
        ordered = self.backend == "emulator"
        self.deadline = min(self.deadline, time.monotonic())  # what is left is the grace
        try:
            case = plan_example(self.kernel, example, self.device)
            self.worker.restart()
            if self._call(case, self._variant, example, 0).passed:
                said = "right in a fresh process: the kernel keeps something from one launch to the next"
                said += "" if ordered else ", or its results differ from run to run"
            elif ordered and example.schedule:
                if not self._call(case, self._variant, replace(example, schedule=NATURAL), 0).passed:
                    return
                said = f"under schedule {NATURAL}, the natural order, it is right, under {example.schedule} wrong"
            else:
                return
        except (Stop, SpecForgeError, TaskFailed, OSError):  # time, the reference, a process that cannot start
            return  # no more to say: what was seen to fail still failed
        self.failure = Failure(example, replace(result, failure=f"{result.failure}; {said}"))

    def _note(self, row: str, case: Plan, variant: int, example: Example, result: ExampleResult) -> None:
        self.executed += 1
        self._results[row] = result
        self.cases.append({**case.parameters, **case.tunables})
        self.inputs.append(example.inputs_row())
        if result.passed:
            if self.worst is None or result.ratio > self.worst_ratio:
                self.worst_ratio, self.worst = result.ratio, example
        else:
            shown = result.example or example
            simplicity = _simplicity(case, shown)
            if self.failure is None:
                self.deadline = min(self.deadline, time.monotonic() + self.shrink_seconds)
            if self.failure is None or simplicity < self._simplicity:
                self.failure, self._simplicity, self._variant = Failure(shown, result), simplicity, variant
        if self.progress is not None:
            self.progress(self.executed)


def _is_schedule(result: ExampleResult) -> bool:
    return result.kind == "fault" and (result.failure or "").startswith("schedule:")


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
