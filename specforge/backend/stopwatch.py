"""Timing on the card's own clock: launches wait in the queue until all are there, then run with no host in between."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cuda.bindings import driver
from cuda.core import Device, EventOptions

from specforge.backend.cuda_errors import checked, driver_calls

_HOST_MAPPED = 2  # CU_MEMHOSTALLOC_DEVICEMAP


class Stopwatch:
    """Times pieces of work in one stream, each between two events of its own."""

    def __init__(self, device: Device, stream: Any) -> None:  # noqa: ANN401 -- cuda.core's Stream
        self._device = device
        self._stream = stream
        self._events: list[tuple[Any, Any]] = []
        self._ticket = 0
        host = checked(driver.cuMemHostAlloc(4, _HOST_MAPPED), "allocating the gate's memory")
        self._gate = ctypes.c_uint32.from_address(int(host))
        self._gate.value = 0
        self._gate_on_card = checked(driver.cuMemHostGetDevicePointer(host, 0), "mapping the gate's memory")

    def time(self, works: Sequence[Callable[[], None]], ahead: Callable[[int], None] | None = None) -> list[float]:
        """Seconds each piece took; a piece only enqueues, and has run before, so that nothing is loaded while held.

        `ahead(n)` enqueues what runs untimed before piece n. The first piece runs once more ahead of all, untimed: it
        takes the start of an idle card on itself.
        """
        with driver_calls("timing launches"):
            while len(self._events) < len(works):
                self._events.append((self._event(), self._event()))
            with self._held():
                if works:
                    works[0]()
                for number, ((start, end), work) in enumerate(zip(self._events, works, strict=False)):
                    if ahead is not None:
                        ahead(number)
                    self._stream.record(start)
                    work()
                    self._stream.record(end)
            checked(driver.cuStreamSynchronize(self._stream.handle), "waiting for timed launches")
            return [(end - start) * 1e-3 for start, end in self._events[: len(works)]]

    def _event(self) -> Any:  # noqa: ANN401 -- cuda.core's Event
        return self._device.create_event(EventOptions(timing_enabled=True))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the stream until the block ends, however it ends: a stream held for ever would hang the process."""
        self._ticket += 1
        at_least = driver.CUstreamWaitValue_flags.CU_STREAM_WAIT_VALUE_GEQ
        code = driver.cuStreamWaitValue32(self._stream.handle, self._gate_on_card, self._ticket, at_least)
        checked(code, "holding the stream")
        try:
            yield
        finally:
            self._gate.value = self._ticket
