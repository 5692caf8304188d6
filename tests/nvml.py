"""A stand-in for pynvml: one card whose answers a test sets. What is not set is "Not Supported"."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

UUID = "GPU-1"


class FakeNvml(types.ModuleType):
    """Set `answers[function]` to a value, or to a callable of the arguments after the handle."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.open = 0
        self.called: list[tuple[Any, ...]] = []
        self.clocks = {1: 1980, 2: 2619}
        self.reasons = 0
        self.compute: list[tuple[int, int | None]] = []
        self.graphics: list[tuple[int, int | None]] = []
        self.answers: dict[str, Any] = {
            "GetClockInfo": lambda kind: self.clocks[kind],
            "GetCurrentClocksEventReasons": lambda: self.reasons,
            "GetPowerUsage": 120_500,
            "GetTemperature": lambda kind: 38,
            "GetTotalEccErrors": lambda kind, counter: 0,
            "GetTotalEnergyConsumption": 5_000,
            "GetUtilizationRates": types.SimpleNamespace(gpu=0, memory=0),
            "GetComputeRunningProcesses": lambda: listed(self.compute),
            "GetGraphicsRunningProcesses": lambda: listed(self.graphics),
        }

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if uuid != UUID:
            raise self.NVMLError("Not Found")
        return 0

    def refuse(self, why: str) -> Callable[..., None]:
        def refused(*_: object) -> None:
            raise self.NVMLError(why)

        return refused

    def __getattr__(self, name: str) -> Callable[..., object]:
        if not name.startswith("nvmlDevice"):
            raise AttributeError(name)
        assert self.open > 0, f"{name} was called while the library was closed"

        def call(handle: int, *arguments: object) -> object:
            self.called.append((name, *arguments))
            answer = self.answers.get(name.removeprefix("nvmlDevice"), self.refuse("Not Supported"))
            return answer(*arguments) if callable(answer) else answer

        return call


def listed(processes: list[tuple[int, int | None]]) -> list[types.SimpleNamespace]:
    return [types.SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in processes]


def install(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Put it where pynvml is imported from."""
    made = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made
