"""The state of a card at a moment: clocks, power, temperature, what slows it, its errors, who else uses it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from specforge.backend.probe import NvmlUnavailable, ask, ask_why, nvml
from specforge.backend.processes import Listing, Strangers, list_processes

# The bits are nvml.h's own: a name that a later pynvml drops must not read as "never slowed".
HARMFUL = {
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "power_brake": 0x80,
}
"""Reasons for lower clocks that may spoil a measurement, with NVML's bit."""
HARMLESS = {
    "idle": 0x1,
    "applications_clocks": 0x2,
    "sync_boost": 0x10,
    "display_clocks": 0x100,
    "board_limit": 0x200,
    "reliability": 0x400,
}
"""Reasons that hold steadily, with NVML's bit: a card that idles, obeys set clocks or stands at its highest."""

RECENT = 0.1
"""Seconds for which a whole reading stands: power, energy and utilisation move every 20 to 200 ms on the card itself.

A whole reading takes some 3 ms, which is many batches' own time; the clocks and what slows them, 13 us.
"""
_GLANCED = frozenset({"sm_clock", "memory_clock", "throttled", "conditions"})
_COUNTED = frozenset({"foreign_processes", "foreign_bytes", "ecc_corrected", "ecc_uncorrected"})

_VOLATILE, _CORRECTED, _UNCORRECTED = 0, 0, 1  # nvml.h: since the driver was loaded; kinds of memory error


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Hertz, watts, degrees Celsius, joules, bytes; None where the card does not say, and `missing` says why.

    `reason` says why nothing at all is known.
    """

    sm_clock: float | None = None
    memory_clock: float | None = None
    power: float | None = None
    temperature: float | None = None
    throttled: tuple[str, ...] = ()
    """Names of HARMFUL that hold."""
    foreign_processes: tuple[int, ...] = ()
    """Process ids of others that use the card, as NVML gives them; in a container they may be the host's."""
    reason: str | None = None
    conditions: tuple[str, ...] = ()
    """Names of HARMLESS that hold, and of bits that NVML has learned since."""
    foreign_bytes: int | None = None
    """Memory of the card that those others hold together."""
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    """Memory errors since the driver was loaded."""
    energy: float | None = None
    """Joules that the card took since the driver was loaded."""
    utilisation: float | None = None
    """Share of the last sampling period (a sixth of a second to a second) in which a kernel of anybody's ran."""
    missing: dict[str, str] = field(default_factory=dict)
    """By field: why it is None, or why it may not be all."""


class CardWatch:
    """Reads the state of one card; NVML stays open for the length of a `with` block, as opening it is slow.

    `own` are processes besides this one that are no strangers on the card. `before` are the card's processes from
    before this one made a context there (`processes_on`): where ids are of another namespace, only what came since can
    be this process.
    """

    def __init__(
        self,
        uuid: str,
        own: Collection[int] = (),
        before: Listing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uuid = uuid
        self._clock = clock
        self._last: tuple[float, Telemetry] | None = None
        self._strangers = Strangers(own, before)
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
        library, handle, missing = self._library, self._handle, dict[str, str]()
        get = partial(self._get, missing)
        throttled, conditions = self._reasons(missing)
        counted = self._counted(missing)
        rates, why = ask_why(library, "nvmlDeviceGetUtilizationRates", handle)
        if why is not None:
            missing["utilisation"] = why
        sm_clock, memory_clock = self._clocks(missing)
        found = Telemetry(
            sm_clock=sm_clock,
            memory_clock=memory_clock,
            power=get("power", "nvmlDeviceGetPowerUsage", scale=1e-3),
            temperature=get("temperature", "nvmlDeviceGetTemperature", library.NVML_TEMPERATURE_GPU),
            throttled=throttled,
            conditions=conditions,
            energy=get("energy", "nvmlDeviceGetTotalEnergyConsumption", scale=1e-3),
            utilisation=None if rates is None else rates.gpu / 100,
            missing=missing,
            **counted,
        )
        self._last = self._clock(), found
        return found

    def glance(self) -> Telemetry:
        """The clocks and what slows them now; the rest of the last whole reading, which is RECENT or made now."""
        if self._reason is not None or self._last is None or self._clock() - self._last[0] > RECENT:
            return self.read()
        return self._glanced(self._last[1])

    def recount(self) -> Telemetry:
        """A glance with what spoils a measurement whenever it came: processes and memory errors, both as of now.

        The rest is the last whole reading's, however old.
        """
        if self._reason is not None or self._last is None:
            return self.read()
        when, last = self._last
        missing = {name: why for name, why in last.missing.items() if name not in _COUNTED}
        found = self._glanced(replace(last, missing=missing, **self._counted(missing)))
        self._last = when, found
        return found

    def _glanced(self, last: Telemetry) -> Telemetry:
        missing = {name: why for name, why in last.missing.items() if name not in _GLANCED}
        throttled, conditions = self._reasons(missing)
        sm_clock, memory_clock = self._clocks(missing)
        return replace(
            last,
            sm_clock=sm_clock,
            memory_clock=memory_clock,
            throttled=throttled,
            conditions=conditions,
            missing=missing,
        )

    def _counted(self, missing: dict[str, str]) -> dict[str, Any]:
        """By field of Telemetry: who else uses the card, and its memory errors."""
        strangers, doubt = self._strangers.among(list_processes(self._library, self._handle))
        if doubt is not None:
            missing["foreign_processes"] = doubt
        if any(process.bytes is None for process in strangers):
            missing["foreign_bytes"] = "the driver hides what other processes hold"
        counted = "nvmlDeviceGetTotalEccErrors"
        errors = {
            name: self._get(missing, name, counted, kind, _VOLATILE)
            for name, kind in (("ecc_corrected", _CORRECTED), ("ecc_uncorrected", _UNCORRECTED))
        }
        return {
            "foreign_processes": tuple(sorted({process.pid for process in strangers})),
            "foreign_bytes": None if "foreign_bytes" in missing else sum(process.bytes or 0 for process in strangers),
            **{name: None if count is None else int(count) for name, count in errors.items()},
        }

    def energy(self) -> float:
        """The energy counter alone, in joules since the driver was loaded; raises NvmlUnavailable where there is none.

        One call instead of a dozen, for reading in the midst of work.
        """
        if self._reason is not None:
            raise NvmlUnavailable(self._reason)
        millijoules, why = ask_why(self._library, "nvmlDeviceGetTotalEnergyConsumption", self._handle)
        if why is not None:
            raise NvmlUnavailable(f"no energy counter: {why}")
        return float(millijoules) / 1000

    def _get(
        self, missing: dict[str, str], name: str, function: str, *arguments: object, scale: float = 1.0
    ) -> float | None:
        answer, why = ask_why(self._library, function, self._handle, *arguments)
        if why is not None:
            missing[name] = why
            return None
        return float(answer) * scale

    def _clocks(self, missing: dict[str, str]) -> tuple[float | None, float | None]:
        """Of the multiprocessors and of the memory."""
        function, library = "nvmlDeviceGetClockInfo", self._library
        return (
            self._get(missing, "sm_clock", function, library.NVML_CLOCK_SM, scale=1e6),
            self._get(missing, "memory_clock", function, library.NVML_CLOCK_MEM, scale=1e6),
        )

    def _reasons(self, missing: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of what holds the clocks down: the harmful, the others."""
        bits, why = ask_why(self._library, "nvmlDeviceGetCurrentClocksEventReasons", self._handle)
        if bits is None:  # the name until driver 535
            bits = ask(self._library, "nvmlDeviceGetCurrentClocksThrottleReasons", self._handle)
        if bits is None:
            missing["throttled"] = missing["conditions"] = why or ""
            return (), ()
        known = HARMFUL | HARMLESS
        unknown = [f"bit_{at}" for at in range(64) if bits >> at & 1 and 1 << at not in known.values()]
        throttled = tuple(name for name, bit in HARMFUL.items() if bits & bit)
        return throttled, (*(name for name, bit in HARMLESS.items() if bits & bit), *unknown)
