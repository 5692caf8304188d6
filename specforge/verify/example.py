"""One example: a case with its input values, and what running it against the reference showed."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from specforge.expressions import Scalar
from specforge.spec.geometry import Plan, plan, resolve_tunables
from specforge.spec.interface import Kernel

if TYPE_CHECKING:
    from specforge.backend.runner import Runner
    from specforge.verify.compare import Array, OutputError

RESERVED = ("parameters", "values", "seed", "schedule", "offset")
"""Keys of a row that name no parameter; a parameter of such a name stands under `parameters`."""


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

    @property
    def passed(self) -> bool:
        """Whether the kernel did what it must."""
        return self.kind == "ok"

    @property
    def ratio(self) -> float:
        """The largest error as a multiple of the tolerance; 0 where nothing was compared."""
        return max((error.ratio for error in self.errors), default=0.0)


def draw_inputs(case: Plan, example: Example, names: Collection[str] | None = None) -> dict[str, Array]:
    """The input tensors of an example, or those of `names`, in storage types: the same for the same example."""
    from specforge.verify.values import generate, stream

    return {
        buffer.name: generate(
            example.values.get(buffer.name, buffer.values[0]),
            buffer.shape,
            buffer.dtype,
            stream(example.seed, buffer.name),
        )
        for buffer in case.buffers
        if buffer.role == "in" and (names is None or buffer.name in names)
    }


def run_example(runner: Runner, payload: tuple[Plan, str, Example]) -> ExampleResult:
    """Run one example and compare it with the reference; a task for a worker.

    Raises SpecForgeError where the reference fails, and passes a KernelFault on only where it has ruined the process.
    """
    from specforge.backend.runner import KernelFault
    from specforge.verify.compare import judge
    from specforge.verify.reference import call_reference

    case, binary, example = payload
    inputs = draw_inputs(case, example)
    want = call_reference(case, inputs)
    try:
        execution = runner.run(case, binary, inputs, schedule=example.schedule, offset=example.offset)
    except KernelFault as fault:
        if fault.poisoned:
            raise
        return ExampleResult("fault", str(fault))
    errors = judge(case, execution.outputs, want)
    if execution.violations:
        return ExampleResult("violation", "; ".join(execution.violations), errors)
    wrong = [error for error in errors if not error.passed]
    if wrong:
        return ExampleResult("wrong", "; ".join(map(str, wrong)), errors)
    return ExampleResult("ok", None, errors)
