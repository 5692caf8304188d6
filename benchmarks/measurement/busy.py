"""The share of time in which the card ran anything, by NVML, for the length of a block: one meter for every tool."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from specforge.backend.probe import NvmlUnavailable, nvml

PERIOD = 0.05


class BusyMeter:
    """Reads the card's utilisation all the time; `share` is its mean, None where NVML does not say."""

    def __init__(self, index: int = 0) -> None:
        self._index = index
        self._read: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seconds = 0.0

    def __enter__(self) -> BusyMeter:
        """Start reading."""
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading."""
        self.seconds = time.perf_counter() - self._began
        self._over.set()
        self._thread.join()

    @property
    def share(self) -> float | None:
        """The mean of what was read, from 0 to 1."""
        return sum(self._read) / len(self._read) if self._read else None

    def _watch(self) -> None:
        try:
            with nvml() as library:
                handle = library.nvmlDeviceGetHandleByIndex(self._index)
                while not self._over.wait(PERIOD):
                    self._read.append(library.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        except NvmlUnavailable:
            self._read.clear()
