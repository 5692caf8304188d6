"""Steps side by side, each on a bench of its own: in order, within the places, ended at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from specforge.backend.runner import Runner
from specforge.backend.worker import WorkerCrashed
from specforge.check import checker
from specforge.check.checker import Bench, Benches, examine
from specforge.check.crew import Crew
from specforge.diagnostics import SpecForgeError
from specforge.spec.geometry import plan
from specforge.spec.interface import Kernel, find_kernel
from tests.check.test_checker import KERNEL, REFERENCE, TEMPLATE

TIGHT = "(8 + 4 * sqrt(columns))"
LOOSE = "(8 + 4 * sqrt(columns) + 2 ** 20 * (4 - sizeof(dtype)))"
VARIANTS = ({"dtype": "f32"}, {"dtype": "bf16"})


def pid(_: Runner, seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def crew_of(places: int, seconds: float = 60.0) -> Crew:
    return Crew(threading.Semaphore(places), {}, 0, seconds)


@pytest.fixture
def crew() -> Iterator[Crew]:
    with crew_of(2) as made:
        yield made


def kernel_of(folder: Path, formula: str, reference: str = REFERENCE) -> Kernel:
    home = folder / "kernels" / "demo" / "sums"
    home.mkdir(parents=True)
    (home / "kernel.yaml").write_text(KERNEL.replace("FORMULA", formula))
    (home / "kernel.cu.j2").write_text(TEMPLATE)
    (home / "reference.py").write_text(reference)
    return find_kernel("demo/sums", (folder,))


def tried(kernel: Kernel, benches: Benches) -> bool:
    return examine(kernel, [plan(kernel, {"rows": 3, "columns": 256, "dtype": "f32"}, {})], VARIANTS, benches)


def test_results_come_in_order_and_places_are_kept(crew: Crew) -> None:
    at_once: list[int] = []
    inside = threading.Semaphore(0)
    begun: list[int] = []

    def step(item: int) -> tuple[int, int]:
        with crew.lend() as bench:
            begun.append(item)
            inside.release()
            at_once.append(inside._value)
            found = bench.worker.call(pid, 0.2, timeout=10)
            inside.acquire()
        return item, found

    found = list(crew.each(step, range(6)))
    assert [item for item, _ in found] == [0, 1, 2, 3, 4, 5]
    assert max(at_once) == 2
    assert len({process for _, process in found}) == 2, "who has a process keeps it"
    assert os.getpid() not in {process for _, process in found}
    assert set(begun[:2]) == {4, 5}, "the largest come last, and are begun first"


def test_waiting_for_a_place_costs_no_time() -> None:
    with crew_of(1, seconds=60.0) as crew:

        def step(_: int) -> float:
            with crew.lend() as bench:
                time.sleep(0.3)
                return bench.deadline - time.monotonic()

        assert all(59 < left < 60 for left in crew.each(step, range(4)))


def test_close_ends_who_runs_and_who_waits() -> None:
    crew = crew_of(1)

    def step(_: int) -> int:
        with crew.lend() as bench:
            return bench.worker.call(pid, 60.0, timeout=60)

    results = crew.each(step, range(3))
    time.sleep(0.5)
    start = time.monotonic()
    crew.close()
    with pytest.raises(WorkerCrashed):
        next(results)
    assert time.monotonic() - start < 5
    with pytest.raises(WorkerCrashed, match="closed"), crew.lend():
        pass


def test_tolerances_that_stand_are_all_tried(tmp_path: Path, crew: Crew) -> None:
    assert tried(kernel_of(tmp_path, TIGHT), crew) is True


def test_what_a_variant_lets_pass_is_found_as_one_after_another(tmp_path: Path, crew: Crew) -> None:
    kernel = kernel_of(tmp_path, LOOSE)
    found = []
    with crew.lend() as bench:
        alone = Bench(bench.worker, {}, 0, time.monotonic() + 60)
        for benches in (alone, crew):
            with pytest.raises(SpecForgeError, match="SF509") as caught:
                tried(kernel, benches)
            found.append(caught.value.diagnostics)
    assert found[0] == found[1]
    assert all("bf16" in (one.value or "") for one in found[0])


def test_too_little_time_leaves_it_undecided(tmp_path: Path) -> None:
    slow = REFERENCE.replace("    return", "    import time\n\n    time.sleep(30)\n    return")
    with crew_of(2, seconds=-4.5) as crew:
        assert tried(kernel_of(tmp_path, TIGHT, slow), crew) is False


def test_what_hangs_within_its_time_is_not_for_want_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "CHECK_SECONDS", 0.5)
    slow = REFERENCE.replace("    return", "    import time\n\n    time.sleep(30)\n    return")
    with crew_of(2) as crew, pytest.raises(SpecForgeError, match=r"SF507.*no answer within 0\.5 s"):
        tried(kernel_of(tmp_path, TIGHT, slow), crew)


def test_a_reference_that_ends_its_process_is_named(tmp_path: Path, crew: Crew) -> None:
    ends = REFERENCE.replace("    return", "    import os\n\n    os._exit(9)\n    return")
    kernel = kernel_of(tmp_path, TIGHT, ends)
    with pytest.raises(SpecForgeError, match=r"SF507.*exit status 9") as caught:
        tried(kernel, crew)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.position is not None
    assert diagnostic.position.file == kernel.reference
