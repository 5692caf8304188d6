"""The queue of launches with a driver that only notes what it is asked; tests/gpu does the same on a real one."""

from __future__ import annotations

import ctypes
import time
import types
from collections.abc import Callable
from typing import Any

import pytest

from specforge.backend import stopwatch, watchdog
from specforge.backend.cuda_errors import CudaError
from specforge.backend.stopwatch import Stopwatch


class Card:
    """Stands where driver, device and stream do. What waits for a value is noted with the value of the gate."""

    handle = 7

    def __init__(self) -> None:
        self.gate = ctypes.c_uint32(99)
        self.log: list[Any] = []
        self.clock = 0.0

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple[int, int]:
        return 0, ctypes.addressof(self.gate)

    def cuMemHostGetDevicePointer(self, host: int, flags: int) -> tuple[int, int]:
        return 0, host

    def cuStreamWaitValue32(self, stream: int, address: int, value: int, flags: int) -> tuple[int]:
        self.log.append(("hold", value, self.gate.value))
        return (0,)

    def cuStreamSynchronize(self, stream: int) -> tuple[int]:
        self.log.append(("wait", self.gate.value))
        return (0,)

    def create_event(self, options: object) -> types.SimpleNamespace:
        return Event()

    def record(self, event: Event) -> None:
        self.clock += 1.0
        event.at = self.clock
        self.log.append("record")


class Event:
    at = 0.0

    def __sub__(self, other: Event) -> float:
        return self.at - other.at


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    made = Card()
    monkeypatch.setattr(stopwatch, "driver", made)
    monkeypatch.setattr(watchdog, "LOOK", 0.01)
    return made


def test_a_piece_is_held_until_it_is_in_the_queue(card: Card) -> None:
    watch = Stopwatch(card, card)  # type: ignore[arg-type]
    works: list[Callable[[], None]] = [lambda: card.log.append("work")] * 2
    assert watch.time(works, ahead=lambda number: card.log.append(("ahead", number))) == [1e-3, 1e-3]
    assert card.log == [
        ("ahead", 0), ("hold", 1, 0), "record", "work", "record", ("wait", 1),
        ("ahead", 1), ("hold", 2, 1), "record", "work", "record", ("wait", 2),
    ]  # fmt: skip


def test_a_piece_that_fails_holds_nothing(card: Card) -> None:
    watch = Stopwatch(card, card)  # type: ignore[arg-type]

    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        watch.time([fails])
    assert card.gate.value == 1
    assert not watch._watchdog.disarm()


def test_a_host_that_the_queue_blocks_is_let_go_and_its_times_are_refused(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Stopwatch(card, card)  # type: ignore[arg-type]
    monkeypatch.setattr(stopwatch, "PATIENCE", 0.05)

    def blocks() -> None:
        end = time.monotonic() + 10
        while card.gate.value < watch._ticket:  # as a launch into a full queue does: until the stream moves
            assert time.monotonic() < end, "the stream was held for ever"
            time.sleep(0.001)

    with pytest.raises(CudaError, match="queue is full"):
        watch.time([blocks])
    with pytest.raises(CudaError, match="queue is full"):
        watch.time([lambda: None, blocks])
    monkeypatch.setattr(stopwatch, "PATIENCE", 20.0)
    assert watch.time([lambda: None]) == [1e-3]
