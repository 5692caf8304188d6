"""Waiting for a card that others use: a time taken beside their work is not the kernel's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection

from specforge.backend.probe import NvmlUnavailable, ask, nvml
from specforge.backend.processes import CardProcess, Listing, list_processes

IDLE = 0.05
"""The share of time in which kernels may run on a card that counts as idle: a desktop draws for a few percent."""
POLL = 0.25
"""Seconds between two looks; two idle looks in a row are due, as the driver's figure is a mean over its last period."""


def wait_until_idle(
    uuid: str,
    own: Collection[int],
    seconds: float,
    *,
    utilised: bool = True,
    tell: Callable[[str], None] = lambda reason: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Wait until nobody else computes on the card; why it is still busy after `seconds`, or None where it is idle.

    To be called while this run holds the card's lock and has no work on it. `own` are ids of its processes besides this
    one. Any other process with a compute context makes the card busy, as it may start work at any time; one that draws
    does so only while it keeps the card at work. `utilised`: whether the share of time in which kernels ran counts; not
    right after work of our own, which the driver's mean still shows. `tell` is called with the reason whenever that
    changes. A card that cannot be asked counts as idle: the telemetry of each batch says what is not known.
    """
    deadline, calm, told = clock() + seconds, 0, None
    try:
        with nvml() as library:
            handle = library.nvmlDeviceGetHandleByUUID(uuid)
            while True:
                rates = ask(library, "nvmlDeviceGetUtilizationRates", handle) if utilised else None
                reason = _why(
                    list_processes(library, handle).without({os.getpid(), *own}),
                    None if rates is None else rates.gpu / 100,
                )
                calm = calm + 1 if reason is None else 0
                if calm == 2 or (calm and rates is None):
                    return None
                if reason is not None:
                    if clock() >= deadline:
                        return f"{reason}; waited {seconds:g} s"
                    if reason != told:
                        tell(f"waiting: {reason}")
                        told = reason
                sleep(POLL)
    except NvmlUnavailable:
        return None


def _why(listing: Listing, utilisation: float | None) -> str | None:
    strangers = [process for process in listing.processes if process.kind == "compute"]
    if strangers:
        return f"the card is used by {', '.join(map(_name, strangers))}"
    if utilisation is not None and utilisation > IDLE:
        return f"kernels still run on the card, {utilisation:.0%} of the time"
    return None


def _name(process: CardProcess) -> str:
    held = "" if process.bytes is None else f" ({process.bytes / 2**20:.0f} MiB)"
    return f"process {process.pid}{held}"
