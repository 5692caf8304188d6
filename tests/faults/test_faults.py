"""Every fault of the corpus is found on the CPU and named for what it is; no twin raises an alarm."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from specforge.backend.worker import Worker
from specforge.check.checker import Bench, examine
from specforge.settings import Settings
from specforge.verify.example import plan_example
from tests.faults.corpus import FAULTS, Fault, ends, load
from tests.faults.search import find, try_twin

EXAMPLES, SCHEDULES = (int(number) for number in os.environ.get("SPECFORGE_TWINS", "25x20").split("x"))
"""Of each twin. `python -m tests.faults.table` runs 500 x 20 and writes down what it finds."""


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker("emulator") as made:
        yield made


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(tmp_path_factory.getbasetemp().parent / "specforge-faults", None, None, 1, None)


def test_the_corpus_is_large_and_even() -> None:
    assert len(FAULTS) >= 45
    kinds = Counter(fault.kinds[0] for fault in FAULTS)
    wanted = {"race": 8, "bounds": 8, "uninitialised": 4, "shuffle": 3, "barrier": 2, "alignment": 3, "overflow": 3}
    assert all(kinds[kind] >= count for kind, count in wanted.items()), kinds


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_is_found_and_named(fault: Fault, worker: Worker, settings: Settings) -> None:
    find(fault, worker, settings)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_twin_raises_no_alarm(fault: Fault, worker: Worker, settings: Settings) -> None:
    assert try_twin(fault, worker, settings, EXAMPLES, SCHEDULES) == (EXAMPLES * SCHEDULES, None)


@pytest.mark.parametrize("fault", {fault.interface: fault for fault in FAULTS}.values(), ids=lambda f: f.interface)
def test_tolerances_reject_known_corruptions(fault: Fault, worker: Worker) -> None:
    kernel = load(fault)
    cases = [plan_example(kernel, example, {}) for example in ends(kernel, False)]
    examine(kernel, cases, [{"faulty": False}], Bench(worker, {}, 0, time.monotonic() + 60))
