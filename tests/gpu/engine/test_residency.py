"""The measuring engine on a card: whether cold is cold, and what lies in its copies. `-s` prints figures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.cuda import CudaRunner
from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.measurement import Measurement
from specforge.measure.series import Mode
from specforge.measure.stopping import StopRule
from specforge.spec.geometry import Plan
from specforge.verify.example import Example
from tests.gpu.engine.measuring import PEAK, measured
from tests.gpu.engine.plans import read_plan

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("n", [1 << 14, 1 << 21])
def test_cold_is_not_hot(worker: Worker, binary: str, references: dict[str, str], n: int) -> None:
    """A small tensor that is scrubbed away, and one whose copies displace each other."""
    modes: tuple[Mode, ...] = ("isolated", "amortised")
    cold = measured(worker, read_plan(n, references, "cold"), binary, modes)
    hot = measured(worker, read_plan(n, references, "hot"), binary, modes)
    assert (cold.cold, hot.cold) == ("proven", "hot")
    for mode in modes:
        assert cold.series[mode].median.value > 1.05 * hot.series[mode].median.value, mode


def measure_without_displacing(runner: Runner, task: MeasureTask) -> Measurement:
    """As `measure_case`, by an engine that takes the L2 for tiny: its cold copies all stay in it."""
    assert isinstance(runner, CudaRunner)
    real, runner.l2_bytes = runner.l2_bytes, 1024
    try:
        return measure_case(runner, task)
    finally:
        runner.l2_bytes = real


def test_hot_is_not_proven_cold(worker: Worker, binary: str, references: dict[str, str]) -> None:
    plan = read_plan(1 << 21, references, "cold")  # two copies of 8 MB
    honest = measured(worker, plan, binary, ("amortised",))
    most = 1.05 * plan.bytes / honest.series["amortised"].median.value
    print(f"  honest {most / 1.05e12:.3f} TB/s")
    planted = measured(worker, plan, binary, ("amortised",), by=measure_without_displacing, bandwidth=most)
    print(f"  planted {plan.bytes / planted.series['amortised'].median.value / 1e12:.3f} TB/s")
    assert planted.cold == "unproven"
    assert any("memory gives" in note for note in planted.notes)
    again = measured(worker, plan, binary, ("amortised",), bandwidth=most)
    assert again.cold == "proven"


def changed(runner: Runner, work: tuple[Plan, str]) -> list[tuple[str, ...]]:
    """Violations of a case of many copies as uploaded, and after one byte of one copy was changed."""
    assert isinstance(runner, CudaRunner)
    plan, binary = work
    found = []
    for turn in (None, 0, 1, 6):
        case = runner.prepare(plan, binary, copies={"x": 7})
        case.upload({"x": np.ones(plan.buffer("x").shape, np.float32)})
        place = case.layout.places["x"]
        if turn is not None:
            runner._memory.fill(place.address(turn) + place.plan.nbytes - 1, 1, 0x55)
        found.append(case.violations(7))
    return found


@pytest.mark.parametrize("n", [4, 1001, 1 << 20, 5 << 20])  # the last in three pieces
def test_a_change_in_any_copy_is_found(worker: Worker, binary: str, references: dict[str, str], n: int) -> None:
    none, *some = worker.call(changed, (read_plan(n, references, "cold"), binary), timeout=60)
    assert none == ()
    for one in some:
        assert len(one) == 1
        assert "input changed in 1 bytes" in one[0]


def persisting_part(runner: Runner, task: MeasureTask) -> tuple[int, int, int]:
    """The persisting part of L2: as a neighbour set it, while a case is measured, and afterwards."""
    from cuda.bindings import driver

    assert isinstance(runner, CudaRunner)
    limit = driver.CUlimit.CU_LIMIT_PERSISTING_L2_CACHE_SIZE
    driver.cuCtxSetLimit(limit, 4 << 20)
    before = int(driver.cuCtxGetLimit(limit)[1])
    with runner.without_persisting_l2():
        inside = int(driver.cuCtxGetLimit(limit)[1])
    measure_case(runner, task)
    after = int(driver.cuCtxGetLimit(limit)[1])
    driver.cuCtxSetLimit(limit, 0)
    return before, inside, after


def test_the_persisting_part_of_l2_is_given_back(worker: Worker, binary: str, references: dict[str, str]) -> None:
    digest = hashlib.sha256(Path(binary).read_bytes()).hexdigest()
    plan = read_plan(1 << 14, references, "cold")
    task = MeasureTask(plan, binary, digest, Example({}), PEAK, modes=("isolated",), rule=StopRule(seconds=0.2))
    before, inside, after = worker.call(persisting_part, task, timeout=60)
    print(f"\npersisting L2: {before}, {inside}, {after} bytes")
    assert inside == 0
    assert before == after > 0
