"""Taking a card for a run: held against other runs, idle, on the clocks that were asked for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from specforge.backend.busy import wait_until_idle
from specforge.backend.clocks import AS_FOUND, Lock, locked_clocks, restore_left_over
from specforge.backend.lock import CardBusy, hold_card
from specforge.backend.telemetry import Telemetry
from specforge.check.context import Context
from specforge.measure.measurement import Measurement


@dataclass(frozen=True, slots=True)
class TakenCard:
    """A card that this run holds."""

    uuid: str
    lock: Lock | None
    """The clock that was asked for; None where clocks are as found."""
    notes: tuple[str, ...]
    """For the record: what was done to the card ahead of the run."""

    def wait_for_others(self, context: Context, seconds: float | None = None) -> None:
        """Wait until nobody else computes on the card; raises CardBusy after `seconds`, or the wait that was asked for.

        For between two workers: the processes are looked at, not the utilisation, which still shows our own work.
        """
        _wait(context, self.uuid, context.options.wait if seconds is None else seconds, utilised=False)

    def clocks_fault(self, *measured: Measurement) -> str | None:
        """Why what was measured was not on the clock asked for; None where it was, or where nothing was timed."""
        loaded = _loaded(measured)
        return self.lock.fault(loaded) if self.lock is not None and loaded else None

    def clocks_policy(self, measured: Iterable[Measurement]) -> str:
        """The clocks policy as the record states it, from all that was measured."""
        return AS_FOUND if self.lock is None else self.lock.policy(_loaded(measured))


def _loaded(measured: Iterable[Measurement]) -> list[Telemetry]:
    """The card's state after each batch that counts: under load, or right after it."""
    series = [series for found in measured for series in found.series.values()]
    return [batch.telemetry for each in series for batch in each.batches if batch.discarded is None]


@contextmanager
def taken_card(context: Context, uuid: str, purpose: str = "specforge check") -> Iterator[TakenCard]:
    """Hold a card for the length of a block; raises CardBusy where others do not let go of it in time.

    Waits as long as was asked for (`--wait`), first for other runs, then for other processes. Raises SF703 and SF704 as
    `hold_card` and `locked_clocks` do.
    """
    options, locks, progress = context.options, context.settings.locks, context.progress
    deadline = time.monotonic() + options.wait
    with hold_card(locks, uuid, wait=options.wait, purpose=purpose, tell=progress.stage):
        restored = restore_left_over(locks, uuid)
        left = max(0.0, deadline - time.monotonic())
        _wait(context, uuid, left, utilised=True)
        with locked_clocks(locks, uuid, options.lock_clocks) as lock:
            yield TakenCard(uuid, lock, (restored,) if restored else ())


def _wait(context: Context, uuid: str, seconds: float, *, utilised: bool) -> None:
    reason = wait_until_idle(uuid, (), seconds, tell=context.progress.stage, utilised=utilised)
    if reason is not None:
        raise CardBusy(reason)
