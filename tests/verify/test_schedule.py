"""Results that depend on the schedule, on earlier launches, or on the run: each is found and says what it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from specforge.spec.geometry import Plan
from specforge.spec.interface import Kernel
from specforge.verify.covering import cover
from specforge.verify.example import Example, plan_example, run_example
from specforge.verify.fuzz import FuzzReport, fuzz
from specforge.verify.schedule import difference, partner

Outputs = dict[str, np.ndarray]
EXAMPLE = Example({"rows": 4, "width": 65, "dtype": "f32", "group": 2, "signed": True}, seed=7, schedule=17)


@pytest.fixture
def search(blend: Kernel, blend_runner, in_process) -> Callable[..., FuzzReport]:
    def run(fault=None, *, kernel: Kernel = blend, **options) -> FuzzReport:
        variants = [(variant, f"variant {index}") for index, variant in enumerate(cover(kernel, [], 0))]
        options = {"examples": 100, "seed": 1, "budget": 60.0, "cap": 2e5} | options
        return fuzz(kernel, variants, in_process(blend_runner(fault=fault)), **options)

    return run


def last_bit(case: Plan, outputs: Outputs, schedule: int) -> None:
    """Within tolerance, and another value under every schedule but the natural one: a sum in the order of arrival."""
    if schedule and case.parameters["dtype"] == "f32" and case.parameters["width"] > 8:
        outputs["out"][0, 3] = np.nextafter(outputs["out"][0, 3], np.float32(np.inf))


def run(kernel: Kernel, runner: object, example: Example = EXAMPLE, *more: object):
    return run_example(runner, (plan_example(kernel, example, {}), "binary", example, *more))


def test_a_partner_is_another_schedule() -> None:
    assert [partner(schedule) for schedule in (0, 1, 17)] == [1, 0, 0]


def test_both_schedules_and_both_values_are_named(blend: Kernel, blend_runner) -> None:
    runner = blend_runner(fault=last_bit)
    assert run(blend, runner).passed
    result = run(blend, runner, EXAMPLE, 1)
    assert result.kind == "fault"
    assert result.failure.startswith("schedule: out[0, 3] is ")
    first, second = result.failure.split(" under schedule 0 and ")
    assert second.endswith(" under schedule 17; 1 of 260 elements differ")
    assert first.split()[-1] != second.split()[0]


def test_a_card_is_asked_twice(blend: Kernel, blend_runner) -> None:
    turns = itertools.count()

    def flaky(case: Plan, outputs: Outputs, schedule: int) -> None:
        if next(turns) == 1:
            outputs["out"][0, 3] = np.nextafter(outputs["out"][0, 3], np.float32(np.inf))

    result = run(blend, blend_runner(fault=flaky, name="cuda:0 a card"), EXAMPLE, 1)
    assert " in one run and " in result.failure
    assert " in the next; 1 of 260" in result.failure


def test_a_reason_allows_it_within_tolerance(make_kernel, blend: Kernel, blend_runner, search) -> None:
    text = (blend.folder / "kernel.yaml").read_text() + "varies: {reason: sums in the order of arrival}\n"
    kernel = make_kernel(text, (blend.folder / "reference.py").read_text())
    assert run(kernel, blend_runner(fault=last_bit), EXAMPLE, 1, True).passed
    assert search(last_bit, kernel=kernel).failure is None

    def far(case: Plan, outputs: Outputs, schedule: int) -> None:
        outputs["out"][0, 0] += schedule == 0

    result = run(kernel, blend_runner(fault=far), EXAMPLE, 1, True)
    assert result.kind == "wrong"
    assert result.failure.endswith("; schedule 17 gives the right result")
    assert result.example == Example(EXAMPLE.parameters, seed=7)


def test_a_difference_is_found_and_shrunk(search) -> None:
    report = search(last_bit)
    assert report.failure is not None
    assert report.failure.result.kind == "fault"
    assert report.failure.result.failure.startswith("schedule: out[0, 3] is ")
    example = report.failure.example
    assert (example.parameters["rows"], example.parameters["width"], example.parameters["dtype"]) == (1, 9, "f32")
    assert example.schedule in (0, 1)
    again = search(last_bit, known_failures=[example])
    assert (again.examples, again.failure) == (1, report.failure)


def test_special_bits(blend: Kernel) -> None:
    case = plan_example(blend, EXAMPLE, {})
    first = {"out": np.zeros((4, 65), np.float32), "best": np.zeros(4, np.int32)}
    second = {"out": first["out"].copy(), "best": first["best"].copy()}
    assert difference(case, first, second, ("here", "there")) is None
    first["out"][1, 2] = np.nan
    second["out"][1, 2] = np.nan
    assert difference(case, first, second, ("here", "there")) is None
    second["best"][3] = -1
    assert (
        difference(case, first, second, ("here", "there")) == "best[3] is 0 here and -1 there; 1 of 4 elements differ"
    )
    second["out"][0, 0] = -0.0
    assert difference(case, first, second, ("here", "there")).startswith("out[0, 0] is 0 here and -0 there")


def test_repeats_take_their_share(search, blend: Kernel, blend_runner) -> None:
    report = search()
    assert 10 < report.repeated < 90
    assert search().repeated == report.repeated


def test_values_are_fresh_and_in_the_same_order(blend: Kernel, blend_runner) -> None:
    seen = []

    class Listening(blend_runner):
        def run(self, plan, binary, inputs, *, schedule=0, offset=0):
            seen.append((inputs["x"].tobytes(), schedule))
            return super().run(plan, binary, inputs, schedule=schedule, offset=offset)

    run(blend, Listening(), EXAMPLE, 3)
    assert [schedule for _, schedule in seen] == [17, 0, 17, 17, 17]
    assert seen[0][0] == seen[1][0]
    assert len({values for values, _ in seen}) == 4


def test_what_only_a_later_launch_shows_is_found_and_replayed(blend: Kernel, blend_runner, in_process) -> None:
    """A stand-in for state that a process keeps: what counts launches is right at first, and again after a restart."""

    class Process(in_process):
        launches = 0

        def restart(self) -> None:
            self.launches = 0

    def fuzzed(**options) -> FuzzReport:
        worker = Process(None)

        def counting(case: Plan, outputs: Outputs, schedule: int) -> None:
            worker.launches += 1
            if worker.launches > 3:
                outputs["out"][0, 0] += 9

        worker.runner = blend_runner(fault=counting)
        options = {"examples": 20, "seed": 1, "budget": 60.0, "cap": 2e5} | options
        return fuzz(blend, [(variant, "") for variant in cover(blend, [], 0)], worker, **options)

    report = fuzzed()
    assert report.failure is not None
    assert report.failure.result.failure.endswith(
        "; right in a fresh process: the kernel keeps something from one launch to the next"
    )
    again = fuzzed(known_failures=[report.failure.example], examples=1)
    assert again.failure is not None
    assert "keeps something" in again.failure.result.failure
