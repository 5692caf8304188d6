"""Which process has the card, with real ones of the emulator."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from specforge.backend.lock import CardBusy
from specforge.backend.worker import Worker
from specforge.check.handover import CardGone, greet, relieved


def a_card(busy: Callable[[float | None], None] = lambda wait: None) -> Any:
    return SimpleNamespace(wait_for_others=lambda context, wait: busy(wait))


def test_the_next_process_takes_the_card_during_the_block() -> None:
    with Worker("emulator") as old, Worker("emulator") as new:
        old.start()
        with relieved(old, new, a_card(), SimpleNamespace()):  # type: ignore[arg-type]
            pass
        assert old.pid is None
        assert new.is_ready


def test_an_interruption_ends_both() -> None:
    with Worker("emulator") as old, Worker("emulator") as new:
        old.start()
        with pytest.raises(KeyboardInterrupt), relieved(old, new, a_card(), SimpleNamespace()):  # type: ignore[arg-type]
            raise KeyboardInterrupt
        assert (old.pid, new.pid) == (None, None)


def test_a_card_that_others_use_is_left_to_who_can_wait_and_say_so() -> None:
    asked: list[float | None] = []

    def busy(wait: float | None) -> None:
        asked.append(wait)
        raise CardBusy("process 7")

    with Worker("emulator") as old, Worker("emulator") as new:
        with relieved(old, new, a_card(busy), SimpleNamespace()):  # type: ignore[arg-type]
            pass
        assert new.pid is None
        with pytest.raises(CardBusy):
            greet(new, a_card(busy), SimpleNamespace())  # type: ignore[arg-type]
    assert asked == [0, None]  # the block waits for nobody


def test_a_card_that_no_process_can_use_is_gone() -> None:
    with Worker("cuda:77") as worker, pytest.raises(CardGone, match="the card cannot be used any more"):
        greet(worker, a_card(), SimpleNamespace())  # type: ignore[arg-type]
