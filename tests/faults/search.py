"""What is done with a fault and with its twin: the search of `check`, and many examples under many schedules."""

from __future__ import annotations

from specforge.backend.worker import Worker
from specforge.check.fuzzing import EMULATED_STEPS
from specforge.check.profile import PROFILES
from specforge.settings import Settings
from specforge.verify.fuzz import fuzz
from specforge.verify.session import Failure
from tests.faults.corpus import Fault, build, complaints, load
from tests.faults.twins import draw_cases, run_cases, schedules

CASES_A_TASK = 100


def find(fault: Fault, worker: Worker, settings: Settings) -> Failure:
    """Fuzz a fault with the settings of `check`; raises AssertionError unless it is found for what it is."""
    kernel, usual = load(fault), PROFILES["ci"]
    report = fuzz(
        kernel,
        [({"faulty": True}, build(kernel, True, settings))],
        worker,
        examples=usual.examples,
        seed=0,
        budget=usual.seconds,
        cap=EMULATED_STEPS,
        shrink_seconds=2.0,
    )
    assert report.failure is not None, f"{fault}: {report.examples} examples passed"
    missing = complaints(fault, report.failure.result)
    assert not missing, f"{fault}: {'; '.join(missing)}: {report.failure.result.failure}"
    return report.failure


def try_twin(fault: Fault, worker: Worker, settings: Settings, examples: int, orders: int) -> tuple[int, str | None]:
    """Run a twin's examples under as many schedules each: how many runs there were, and the alarm that ended them."""
    kernel = load(fault)
    binary = build(kernel, False, settings)
    cases = list(draw_cases(kernel, examples, EMULATED_STEPS, seed=1))
    total = 0
    for start in range(0, examples, CASES_A_TASK):
        task = (binary, cases[start : start + CASES_A_TASK], schedules(orders, seed=1 + start))
        runs, alarm = worker.call(run_cases, task, timeout=600)
        total += runs
        if alarm is not None:
            return total, alarm
    return total, None
