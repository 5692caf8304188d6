"""Who else is on a card: NVML's list of processes, less our own, with what cannot be known said.

In a container NVML may give process ids of the host, which are not those that a process there calls itself by, or no
processes at all. So a process is told from strangers by its own id where the list holds it, and otherwise by having
come into the list when its context was made.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from specforge.backend.probe import NvmlUnavailable, ask_why, nvml

_LISTS: tuple[tuple[Literal["compute", "graphics"], str], ...] = (
    ("graphics", "nvmlDeviceGetGraphicsRunningProcesses"),
    ("compute", "nvmlDeviceGetComputeRunningProcesses"),
)


@dataclass(frozen=True, slots=True)
class CardProcess:
    """A process as NVML lists it; `pid` may be of another namespace, `bytes` None where the driver hides them."""

    pid: int
    bytes: int | None
    kind: Literal["compute", "graphics"]
    """What draws as well as computes, as a desktop does, is `graphics`."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The processes on a card at a moment, or why they are not known."""

    processes: tuple[CardProcess, ...] = ()
    reason: str | None = None

    def without(self, pids: Collection[int]) -> Listing:
        """The same, less those."""
        return Listing(tuple(process for process in self.processes if process.pid not in pids), self.reason)


def list_processes(library: Any, handle: Any) -> Listing:  # noqa: ANN401 -- pynvml and its handle
    """Ask an open NVML for the processes on a card; a card that lists only one of the two kinds is believed."""
    found: list[CardProcess] = []
    reasons = []
    for kind, function in _LISTS:
        listed, reason = ask_why(library, function, handle)
        if reason is not None:
            reasons.append(reason)
            continue
        drawn = {process.pid for process in found}
        found += [
            CardProcess(int(process.pid), getattr(process, "usedGpuMemory", None), kind)
            for process in listed
            if process.pid == 0 or process.pid not in drawn  # id 0 stands for all that are hidden
        ]
    reason = reasons[0] if len(reasons) == len(_LISTS) else None
    return Listing(tuple(sorted(found, key=lambda process: (process.pid, process.kind))), reason)


def processes_on(uuid: str) -> Listing:
    """The processes on a card now; never raises."""
    try:
        with nvml() as library:
            return list_processes(library, library.nvmlDeviceGetHandleByUUID(uuid))
    except NvmlUnavailable as error:
        return Listing(reason=str(error))


class Strangers:
    """Tells this process's own entries from those of others.

    `before` is the list from before this process made its context on the card; without it this process is taken to
    have none. `own` are ids of processes that are no strangers.
    """

    def __init__(self, own: Collection[int] = (), before: Listing | None = None) -> None:
        self._own = frozenset({os.getpid(), *own})
        self._before = before
        self._alias: int | None = None
        self._doubt: str | None = None
        self._settled = False

    def among(self, now: Listing) -> tuple[tuple[CardProcess, ...], str | None]:
        """Those of others, and what is not known about them; None where they are all."""
        if now.reason is not None:
            return (), now.reason
        if not self._settled:
            self._settle(now.processes)
            self._settled = True
        others = [process for process in now.processes if process.pid not in self._own]
        mine = next((process for process in others if process.pid == self._alias), None)
        if mine is not None:
            others.remove(mine)  # one entry only: id 0 may stand for strangers as well
        return tuple(others), self._doubt

    def _settle(self, now: Sequence[CardProcess]) -> None:
        """Find out, once, under which id this process is listed."""
        if self._before is None or any(process.pid in self._own for process in now):
            return
        if self._before.reason is not None:
            self._doubt = f"the processes from before this one are not known: {self._before.reason}"
            return
        came = Counter(process.pid for process in now) - Counter(process.pid for process in self._before.processes)
        if not came:
            self._doubt = "NVML does not list this process itself, so it may hide others too"
        elif came.total() == 1:
            (self._alias,) = came
        else:
            self._doubt = f"{came.total()} processes came while this one started, itself among them"
