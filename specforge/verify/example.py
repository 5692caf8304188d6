"""One example: a case with its input values, and what running it against the reference showed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from specforge.expressions import Scalar
from specforge.spec.geometry import Plan, plan, resolve_tunables
from specforge.spec.interface import Kernel

if TYPE_CHECKING:
    from specforge.backend.runner import Runner
    from specforge.verify.compare import Array, OutputError

RESERVED = ("parameters", "values", "seed", "schedule", "offset")
"""Keys of a row that name no parameter; a parameter of such a name stands under `parameters`."""
NATURAL = 0
"""The schedule of blocks, warps and lanes in ascending order; 1 is the reverse of it, any other is shuffled."""
SEEDS = 1 << 32
"""Seeds of values are drawn below this."""
FRESH = 0x9E3779B1
"""Added to a seed for values drawn anew: odd, so that no seed comes back before all others did."""


@dataclass(frozen=True, slots=True)
class Example:
    """A case and everything that its run depends on.

    `tunables` holds only those that differ from their defaults, `values` only the tensors whose distribution is not the
    first one that the kernel lists. `schedule` is the emulator's order of threads and blocks, `offset` the bytes (a
    multiple of 16 below 256) by which inputs and outputs are shifted from 256-byte alignment.
    """

    parameters: dict[str, Scalar]
    tunables: dict[str, Scalar] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    schedule: int = 0
    offset: int = 0

    def to_row(self) -> str:
        """One line of YAML that `--case` and `parse_row` read back to an equal example."""
        flat = {**self.parameters, **self.tunables}
        hidden = {name: flat.pop(name) for name in RESERVED if name in flat}
        parts = [f"{name}: {_yaml(value)}" for name, value in flat.items()]
        for key, mapping in (("parameters", hidden), ("values", self.values)):
            if mapping:
                parts.append(f"{key}: {{{', '.join(f'{name}: {_yaml(value)}' for name, value in mapping.items())}}}")
        parts.append(f"seed: {self.seed}")
        parts += [
            f"{key}: {number}" for key, number in (("schedule", self.schedule), ("offset", self.offset)) if number
        ]
        return "{" + ", ".join(parts) + "}"

    def inputs_row(self) -> str:
        """The row of what decides the values that a kernel sees: without the schedule and the offset."""
        return replace(self, schedule=NATURAL, offset=0).to_row()

    def command(self, spec: str, kernel: str, backend: str = "emulator") -> str:
        """The shell command that runs this example alone."""
        options = f"--only {shlex.quote(kernel)} --until verify --backend {backend.partition(' ')[0]}"
        return f"specforge check {shlex.quote(spec)} {options} --case {shlex.quote(self.to_row())}"


def _yaml(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def plan_example(kernel: Kernel, example: Example, device: Mapping[str, Scalar]) -> Plan:
    """The concrete plan of an example; `device` gives the `device.*` names that defaults of tunables may use."""
    tunables = resolve_tunables(kernel, example.parameters, device) | example.tunables
    return plan(kernel, example.parameters, tunables)


def bindings(kernel: Kernel, example: Example, device: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What the template of this example's kernel is rendered with: its compile parameters and compile tunables."""
    known = example.parameters | resolve_tunables(kernel, example.parameters, device) | example.tunables
    return {name: known[name] for name in kernel.compile_names()}


Kind = Literal["ok", "wrong", "violation", "fault"]


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """What a run showed: `wrong` output, `violation` (other memory was changed), `fault` (crash, hang, race)."""

    kind: Kind
    failure: str | None = None
    """One sentence: what, where, both values."""
    errors: tuple[OutputError, ...] = ()
    example: Example | None = None
    """The example that failed, where it is not the one that was asked for but one run after it (see `run_example`)."""

    @property
    def passed(self) -> bool:
        """Whether the kernel did what it must."""
        return self.kind == "ok"

    @property
    def ratio(self) -> float:
        """The largest error as a multiple of the tolerance; 0 where nothing was compared."""
        return max((error.ratio for error in self.errors), default=0.0)


class Task(NamedTuple):
    """An example to run with the path of its binary, and what to run after it in the same process."""

    case: Plan
    binary: str
    example: Example
    rounds: int = 0
    """0: nothing more. Else the same inputs under another schedule, then so many times fresh values."""
    varies: bool = False
    """Whether the result may depend on the schedule, as kernel.yaml says."""


def draw_inputs(case: Plan, example: Example, names: Collection[str] | None = None) -> dict[str, Array]:
    """The input tensors of an example, or those of `names`, in storage types: the same for the same example."""
    from specforge.verify.values import generate, stream

    return {
        buffer.name: generate(
            buffer.ranges.get(label, label),
            buffer.shape,
            buffer.dtype,
            stream(example.seed, buffer.name),
        )
        for buffer in case.buffers
        if buffer.is_given and (names is None or buffer.name in names)
        for label in [example.values.get(buffer.name, buffer.values[0])]
    }


def work_out(case: Plan, example: Example) -> tuple[dict[str, Array], dict[str, Array]]:
    """The inputs of an example, and what the reference makes of them."""
    from specforge.verify.reference import call_reference

    inputs = draw_inputs(case, example)
    return inputs, call_reference(case, inputs)


def drawn_anew(example: Example, rounds: int) -> Iterator[Example]:
    """The same case with fresh values, so many times."""
    for turn in range(1, rounds + 1):
        yield replace(example, seed=(example.seed + turn * FRESH) % SEEDS)


def run_example(
    runner: Runner,
    payload: tuple[Any, ...],
    known: Callable[[Plan, Example], tuple[dict[str, Array], dict[str, Array]]] = work_out,
) -> ExampleResult:
    """Run one example (a `Task`) and compare it with the reference; a task for a worker.

    With rounds, it is run again: first under another schedule, where the outputs must be equal bit for bit unless the
    kernel varies, and within tolerance if it does. These two launches have the same inputs, as only then nothing but
    the schedule can make a difference. After them come launches of values drawn anew, in the same memory at the same
    addresses, by the same loaded binary: what a kernel kept by address, or knows by counting its launches, is wrong
    there. Memory is filled afresh for every launch.

    `known` gives inputs and reference where they are at hand. Raises SpecForgeError where the reference fails, and
    passes a KernelFault on only where it has ruined the process.
    """
    from specforge.verify.schedule import difference, partner

    task = Task(*payload)
    example = task.example
    inputs, want = known(task.case, example)
    result, first = _launch(runner, task, example, inputs, want)
    if not result.passed or not task.rounds:
        return result
    assert first is not None
    other = replace(example, schedule=partner(example.schedule))
    again, second = _launch(runner, task, other, inputs, want)
    on_card = runner.name.startswith("cuda")
    if not again.passed:
        other = example if on_card else other
        before = "the run before it" if on_card else f"schedule {example.schedule}"
        return replace(again, failure=f"{again.failure}; {before} gives the right result", example=other)
    assert second is not None
    if not task.varies:
        runs = [(example.schedule, first), (other.schedule, second)]
        (low, one), (high, two) = runs if on_card else sorted(runs, key=lambda run: run[0])
        where = ("in one run", "in the next") if on_card else (f"under schedule {low}", f"under schedule {high}")
        found = difference(task.case, one, two, where)
        if found is not None:
            return ExampleResult("fault", f"schedule: {found}", result.errors)
    for fresh in drawn_anew(example, task.rounds):
        again, _ = _launch(runner, task, fresh, *known(task.case, fresh))
        if not again.passed:
            return replace(again, example=fresh)
    return result


def _launch(
    runner: Runner, task: Task, example: Example, inputs: dict[str, Array], want: Mapping[str, Array]
) -> tuple[ExampleResult, dict[str, Array] | None]:
    """One launch group, judged; with its outputs where there are any."""
    from specforge.backend.runner import KernelFault
    from specforge.verify.compare import judge

    try:
        execution = runner.run(task.case, task.binary, inputs, schedule=example.schedule, offset=example.offset)
    except KernelFault as fault:
        if fault.poisoned:
            raise
        return ExampleResult("fault", str(fault)), None
    errors = judge(task.case, execution.outputs, want)
    if execution.violations:
        return ExampleResult("violation", "; ".join(execution.violations), errors), None
    wrong = [error for error in errors if not error.passed]
    if wrong:
        return ExampleResult("wrong", "; ".join(map(str, wrong)), errors), None
    return ExampleResult("ok", None, errors), execution.outputs
