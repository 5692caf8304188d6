"""Running many examples under many schedules inside one task of a worker: one draw and one reference call for each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from specforge.backend.runner import KernelFault, Runner
from specforge.spec.geometry import Plan
from specforge.spec.interface import Kernel
from specforge.verify.compare import judge
from specforge.verify.draw import Drawer
from specforge.verify.example import Example, draw_inputs, plan_example
from specforge.verify.reference import call_reference

Case = tuple[Plan, Example]


def draw_cases(kernel: Kernel, count: int, cap: float, seed: int) -> Iterator[Case]:
    """As many cases of the twin as fuzzing would draw, of at most `cap` emulated steps each."""
    drawer = Drawer(kernel, [{"faulty": False}], cap, {})
    random = np.random.default_rng(seed)
    while count:
        drawn = drawer.draw(lambda most: int(random.integers(0, most + 1)))
        if drawn is not None:
            count -= 1
            yield plan_example(kernel, drawn[1], {}), drawn[1]


def schedules(count: int, seed: int) -> list[int]:
    """The natural order, its reverse, and shuffled ones."""
    return [0, 1, *(int(number) for number in np.random.default_rng(seed).integers(2, 1 << 16, count - 2))]


def run_cases(runner: Runner, payload: tuple[str, list[Case], list[int]]) -> tuple[int, str | None]:
    """Run every case under every schedule up to the first alarm: how many runs there were, and the alarm.

    A task for a worker. An alarm is a fault, a violation, a wrong result, or a result that depends on the schedule.
    """
    binary, cases, orders = payload
    runs = 0
    for case, example in cases:
        inputs = draw_inputs(case, example)
        first: dict[str, bytes] = {}
        for order in orders:
            try:
                execution = runner.run(case, binary, inputs, schedule=order, offset=example.offset)
            except KernelFault as fault:
                return runs, f"{fault} in {example.to_row()} under schedule {order}"
            runs += 1
            said = list(execution.violations)
            got = {name: array.tobytes() for name, array in execution.outputs.items()}
            if not first:
                first = got
                errors = judge(case, execution.outputs, call_reference(case, inputs))
                said += [str(error) for error in errors if not error.passed]
            elif got != first:
                said.append(f"the result differs from that under schedule {orders[0]}")
            if said:
                return runs, f"{'; '.join(said)} in {example.to_row()} under schedule {order}"
    return runs, None
