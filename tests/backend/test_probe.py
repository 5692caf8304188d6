from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from dataclasses import asdict

import pytest

from specforge.backend.probe import NvmlUnavailable, nvml, probe
from specforge.backend.runner import create_runner
from specforge.backend.telemetry import HARMFUL, CardWatch
from specforge.diagnostics import SpecForgeError


def test_cards_or_a_reason() -> None:
    found = probe()
    assert bool(found.cards) is (found.reason is None)
    json.dumps(asdict(found))
    if found.reason is not None:
        assert "driver" in found.reason or "nvidia-ml-py" in found.reason or "NVML" in found.reason


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert probe().cards == ()
    assert "nvidia-ml-py" in (probe().reason or "")


class Nvml(types.ModuleType):
    """A library that answers like NVML for one card that keeps some things to itself."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.open = 0
        self.throttle = 0
        self.nvmlClocksThrottleReasonSwPowerCap = 4
        self.nvmlClocksThrottleReasonHwThermalSlowdown = 64

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def __getattr__(self, name: str) -> object:
        answers = {
            "nvmlSystemGetDriverVersion": lambda: b"580.1",
            "nvmlSystemGetCudaDriverVersion_v2": lambda: 13020,
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetHandleByUUID": self._known,
            "nvmlDeviceGetCudaComputeCapability": lambda handle: (12, 0),
            "nvmlDeviceGetName": lambda handle: "NVIDIA Test",
            "nvmlDeviceGetUUID": lambda handle: "GPU-1",
            "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 575_000,
            "nvmlDeviceGetPowerUsage": lambda handle: 61_500,
            "nvmlDeviceGetClockInfo": lambda handle, kind: 2400 + kind,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: self.throttle,
            "nvmlDeviceGetComputeRunningProcesses": lambda handle: [
                types.SimpleNamespace(pid=pid) for pid in (os.getpid(), 7, 9)
            ],
        }
        if name in answers:
            return answers[name]
        if name.startswith("nvmlDevice"):
            return self._unsupported
        raise AttributeError(name)

    def _unsupported(self, *_: object) -> None:
        raise self.NVMLError("Not Supported")

    def _known(self, uuid: str) -> int:
        if uuid != "GPU-1":
            raise self.NVMLError("Not Found")
        return 0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    made = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_a_card_that_keeps_things_to_itself(library: Nvml) -> None:
    (card,) = probe().cards
    assert (card.name, card.compute_capability, card.driver, card.cuda_driver_version) == (
        "NVIDIA Test", "12.0", "580.1", "13.2",
    )  # fmt: skip
    assert card.power_limit == 575.0
    assert (card.memory_bytes, card.ecc, card.mig, card.vbios, card.sm_clock_max) == (None,) * 5
    assert library.open == 0


def test_errors_inside_close_the_library(library: Nvml) -> None:
    with pytest.raises(NvmlUnavailable, match="Not Supported"), nvml():
        library._unsupported()
    assert library.open == 0


def test_telemetry(library: Nvml) -> None:
    with CardWatch("GPU-1", own=[7]) as watch:
        assert library.open == 1
        seen = watch.read()
        assert (seen.power, seen.sm_clock, seen.memory_clock) == (61.5, 2401e6, 2402e6)
        assert (seen.temperature, seen.throttled, seen.foreign_processes) == (None, (), (9,))
        library.throttle = 4 | 64 | 1
        assert set(watch.read().throttled) == {"sw_power_cap", "hw_thermal"} <= set(HARMFUL)
    assert library.open == 0
    assert watch.read().reason == "NVML is not open"


def test_telemetry_of_an_unknown_card_says_so(library: Nvml) -> None:
    with CardWatch("GPU-2") as watch:
        assert watch.read().reason == "NVML knows no card GPU-2"
    assert library.open == 0


def test_a_card_that_is_not_there_is_a_diagnostic() -> None:
    with pytest.raises(SpecForgeError, match="SF702"):
        create_runner("cuda:99")


def test_probing_and_workers_load_no_cuda() -> None:
    code = (
        "import sys; from specforge.backend.probe import probe; probe(); import specforge.backend.worker, "
        "specforge.backend.cuda, specforge.measure.stopping; print([m for m in sys.modules if m.startswith('cuda')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
