from __future__ import annotations

import types
from collections.abc import Callable

import pytest

from specforge.backend.busy import POLL, wait_until_idle
from tests.nvml import UUID, FakeNvml, install, listed


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    return install(monkeypatch)


class Wait:
    """Waits on a clock of its own and calls `change(seconds since the start)` meanwhile."""

    def __init__(self, change: Callable[[float], None] = lambda now: None) -> None:
        self.now, self.change = 0.0, change
        self.told: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.change(self.now)

    def __call__(self, seconds: float = 60, own: tuple[int, ...] = ()) -> str | None:
        return wait_until_idle(UUID, own, seconds, tell=self.told.append, clock=lambda: self.now, sleep=self.sleep)


def works(library: FakeNvml, percent: int) -> None:
    library.answers["GetUtilizationRates"] = types.SimpleNamespace(gpu=percent, memory=0)


def test_an_idle_card_costs_one_more_look(library: FakeNvml) -> None:
    wait = Wait()
    works(library, 4)
    library.graphics = [(3, None)]  # a desktop
    library.compute = [(3, None), (4, None)]
    assert wait(own=(4,)) is None
    assert (wait.now, wait.told) == (POLL, [])
    assert library.open == 0


def test_a_stranger_is_waited_for(library: FakeNvml) -> None:
    library.compute = [(77, 5 << 30)]

    def change(now: float) -> None:
        if now >= 3:
            library.compute = []

    wait = Wait(change)
    assert wait() is None
    assert 3 <= wait.now < 4
    assert wait.told == ["waiting: the card is used by process 77 (5120 MiB)"]


def test_a_stranger_who_stays_is_the_reason(library: FakeNvml) -> None:
    library.compute = [(77, None)]
    wait = Wait()
    assert wait(10) == "the card is used by process 77; waited 10 s"
    assert 10 <= wait.now < 10 + 2 * POLL
    assert Wait()(0) == "the card is used by process 77; waited 0 s"


def test_kernels_of_a_process_that_is_not_listed(library: FakeNvml) -> None:
    """In a container the list may be empty; that kernels run is seen all the same."""
    works(library, 97)
    wait = Wait()
    assert wait(5) == "kernels still run on the card, 97% of the time; waited 5 s"


def test_right_after_our_own_work_only_the_processes_count(library: FakeNvml) -> None:
    works(library, 97)
    assert wait_until_idle(UUID, (), 0, utilised=False) is None
    library.compute = [(77, None)]
    assert "process 77" in (wait_until_idle(UUID, (), 0, utilised=False) or "")


def test_a_pause_between_kernels_is_not_idleness(library: FakeNvml) -> None:
    looks = iter([90, 0, 90, 0, 0, 0])
    library.answers["GetUtilizationRates"] = lambda: types.SimpleNamespace(gpu=next(looks), memory=0)
    wait = Wait()
    assert wait() is None
    assert wait.now == 4 * POLL


def test_a_card_that_cannot_be_asked_is_not_waited_for(library: FakeNvml) -> None:
    library.answers.clear()
    assert Wait()() is None
    library.nvmlDeviceGetHandleByUUID = library.refuse("Not Found")  # type: ignore[assignment]
    assert Wait()() is None


def test_ctrl_c_ends_the_wait_and_closes_the_library(library: FakeNvml) -> None:
    library.answers["GetComputeRunningProcesses"] = lambda: listed([(7, None)])

    def interrupt(now: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Wait(interrupt)()
    assert library.open == 0
