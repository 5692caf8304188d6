"""The state of a card at a moment: clocks, power, temperature, what slows it, who else uses it."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from specforge.backend.probe import NvmlUnavailable, ask, nvml

HARMFUL = {
    "sw_power_cap": "nvmlClocksThrottleReasonSwPowerCap",
    "hw_slowdown": "nvmlClocksThrottleReasonHwSlowdown",
    "sw_thermal": "nvmlClocksThrottleReasonSwThermalSlowdown",
    "hw_thermal": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "power_brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
}
"""Reasons for lower clocks that spoil a measurement; a card that idles or obeys set clocks is not among them."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Hertz, watts, degrees Celsius; None where the card does not say. `reason` says why all are None."""

    sm_clock: float | None = None
    memory_clock: float | None = None
    power: float | None = None
    temperature: float | None = None
    throttled: tuple[str, ...] = ()
    """Names of HARMFUL that hold."""
    foreign_processes: tuple[int, ...] = ()
    """Process ids of others that use the card."""
    reason: str | None = None


class CardWatch:
    """Reads the state of one card; NVML stays open for the length of a `with` block, as opening it is slow.

    `own` are processes besides this one that are no strangers on the card.
    """

    def __init__(self, uuid: str, own: Collection[int] = ()) -> None:
        self._uuid = uuid
        self._own = {os.getpid(), *own}
        self._open = ExitStack()
        self._library: Any = None
        self._handle: Any = None
        self._reason: str | None = "NVML is not open"

    def __enter__(self) -> CardWatch:
        """Open NVML and find the card; where that fails, `read` says why."""
        try:
            self._library = self._open.enter_context(nvml())
            self._handle = ask(self._library, "nvmlDeviceGetHandleByUUID", self._uuid)
            self._reason = None if self._handle is not None else f"NVML knows no card {self._uuid}"
        except NvmlUnavailable as error:
            self._reason = str(error)
        return self

    def __exit__(self, *_: object) -> None:
        """Close NVML."""
        self._reason = "NVML is not open"
        self._open.close()

    def read(self) -> Telemetry:
        """The card's state now."""
        if self._reason is not None:
            return Telemetry(reason=self._reason)
        library, handle = self._library, self._handle
        power = ask(library, "nvmlDeviceGetPowerUsage", handle)
        temperature = ask(library, "nvmlDeviceGetTemperature", handle, library.NVML_TEMPERATURE_GPU)
        return Telemetry(
            sm_clock=_hertz(ask(library, "nvmlDeviceGetClockInfo", handle, library.NVML_CLOCK_SM)),
            memory_clock=_hertz(ask(library, "nvmlDeviceGetClockInfo", handle, library.NVML_CLOCK_MEM)),
            power=None if power is None else power / 1000,
            temperature=None if temperature is None else float(temperature),
            throttled=_throttled(library, handle),
            foreign_processes=_foreign(library, handle, self._own),
        )


def _throttled(library: Any, handle: Any) -> tuple[str, ...]:  # noqa: ANN401
    bits = ask(library, "nvmlDeviceGetCurrentClocksThrottleReasons", handle) or 0
    return tuple(name for name, constant in HARMFUL.items() if bits & int(getattr(library, constant, 0)))


def _foreign(library: Any, handle: Any, own: set[int]) -> tuple[int, ...]:  # noqa: ANN401
    listed = [
        process.pid
        for function in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")
        for process in ask(library, function, handle) or ()
    ]
    return tuple(sorted(set(listed) - own))


def _hertz(megahertz: int | None) -> float | None:
    return None if megahertz is None else megahertz * 1e6
