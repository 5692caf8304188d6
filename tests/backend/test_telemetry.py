from __future__ import annotations

import os
import types
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.backend.energy import Energy, measure_energy, measure_idle
from specforge.backend.probe import NvmlUnavailable
from specforge.backend.processes import CardProcess, Listing, Strangers, processes_on
from specforge.backend.telemetry import HARMFUL, HARMLESS, CardWatch, Telemetry
from tests.nvml import UUID, FakeNvml, install


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    return install(monkeypatch)


def read(before: Listing | None = None, own: tuple[int, ...] = ()) -> Telemetry:
    with CardWatch(UUID, own, before) as watch:
        return watch.read()


def test_everything_that_a_card_tells(library: FakeNvml) -> None:
    library.answers |= {
        "GetTotalEccErrors": lambda kind, counter: (3, 1)[kind] if counter == 0 else 99,
        "GetUtilizationRates": types.SimpleNamespace(gpu=42, memory=7),
        "GetTotalEnergyConsumption": 1_234_567,
    }
    library.reasons = HARMFUL["hw_thermal"] | HARMFUL["sw_power_cap"] | HARMLESS["applications_clocks"] | 1 << 20
    library.compute = [(os.getpid(), 5), (77, 100), (78, 11)]
    library.graphics = [(79, 1)]
    seen = read(own=(78,))
    assert (seen.sm_clock, seen.memory_clock, seen.power, seen.temperature) == (1980e6, 2619e6, 120.5, 38.0)
    assert (seen.throttled, seen.conditions) == (("sw_power_cap", "hw_thermal"), ("applications_clocks", "bit_20"))
    assert (seen.ecc_corrected, seen.ecc_uncorrected, seen.energy) == (3, 1, 1234.567)
    assert (seen.utilisation, seen.foreign_processes, seen.foreign_bytes) == (0.42, (77, 79), 101)
    assert (seen.missing, seen.reason) == ({}, None)


def test_a_glance_reads_what_moves_and_repeats_the_rest(library: FakeNvml) -> None:
    now = 5.0
    with CardWatch(UUID, clock=lambda: now) as watch:
        assert watch.glance() == watch.read()  # the first one reads all
        library.answers["GetPowerUsage"], library.answers["GetClockInfo"] = 99_000, 1200
        library.reasons = HARMFUL["hw_thermal"]
        library.compute = [(77, 100)]
        seen = watch.glance()
        assert (seen.sm_clock, seen.throttled) == (1200e6, ("hw_thermal",))
        assert (seen.power, seen.foreign_processes) == (120.5, ())
        now += 0.2
        seen = watch.glance()
        assert (seen.power, seen.foreign_processes) == (99.0, (77,))
        del library.answers["GetCurrentClocksEventReasons"]
        assert watch.glance().missing.keys() >= {"throttled", "conditions"}
    assert watch.glance().reason == "NVML is not open"


def test_a_recount_knows_who_is_there_and_what_broke_now(library: FakeNvml) -> None:
    now = 5.0
    with CardWatch(UUID, clock=lambda: now) as watch:
        assert watch.recount() == watch.read()  # the first one reads all
        library.answers["GetPowerUsage"], library.answers["GetClockInfo"] = 99_000, 1200
        library.answers["GetTotalEccErrors"] = lambda kind, counter: 2 - kind
        library.compute, library.reasons = [(77, None)], HARMFUL["hw_thermal"]
        seen = watch.recount()
        assert (seen.foreign_processes, seen.ecc_corrected, seen.ecc_uncorrected) == ((77,), 2, 1)
        assert (seen.sm_clock, seen.throttled, seen.power) == (1200e6, ("hw_thermal",), 120.5)
        assert seen.missing == {"foreign_bytes": "the driver hides what other processes hold"}
        assert watch.glance() == seen
        library.compute = []
        assert watch.recount().missing == {}
        library.answers["GetTotalEccErrors"] = library.refuse("GPU is lost")
        seen = watch.recount()
        assert (seen.ecc_uncorrected, seen.missing["ecc_uncorrected"]) == (None, "GPU is lost")
        now += 0.2  # a recount makes no whole reading of an old one
        assert watch.recount().power == 120.5
        assert watch.glance().power == 99.0
    assert watch.recount().reason == "NVML is not open"


def test_no_field_is_empty_without_a_reason(library: FakeNvml) -> None:
    library.answers.clear()
    seen = read()
    empty = {item.name for item in fields(seen) if getattr(seen, item.name) is None} - {"reason", "foreign_bytes"}
    assert empty == {
        "sm_clock", "memory_clock", "power", "temperature", "ecc_corrected", "ecc_uncorrected", "energy", "utilisation",
    }  # fmt: skip
    assert set(seen.missing) == empty | {"throttled", "conditions", "foreign_processes"}
    assert set(seen.missing.values()) == {"Not Supported"}


def test_the_older_name_of_the_reasons_is_asked_too(library: FakeNvml) -> None:
    del library.answers["GetCurrentClocksEventReasons"]
    library.answers["GetCurrentClocksThrottleReasons"] = HARMFUL["power_brake"]
    assert read().throttled == ("power_brake",)


def test_the_bits_are_those_of_pynvml() -> None:
    pynvml = pytest.importorskip("pynvml")
    named = {
        "idle": "GpuIdle", "applications_clocks": "ApplicationsClocksSetting", "sw_power_cap": "SwPowerCap",
        "hw_slowdown": "HwSlowdown", "sync_boost": "SyncBoost", "sw_thermal": "SwThermalSlowdown",
        "hw_thermal": "HwThermalSlowdown", "power_brake": "HwPowerBrakeSlowdown",
        "display_clocks": "DisplayClockSetting",
    }  # fmt: skip
    for name, suffix in named.items():
        assert getattr(pynvml, f"nvmlClocksEventReason{suffix}") == (HARMFUL | HARMLESS)[name]


def test_no_library_and_a_lost_card(library: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    library.answers = {name: library.refuse("GPU is lost") for name in library.answers}
    assert set(read().missing.values()) == {"GPU is lost"}
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    seen = read()
    assert "nvidia-ml-py" in (seen.reason or "")
    assert "nvidia-ml-py" in (processes_on(UUID).reason or "")
    with CardWatch(UUID) as watch, pytest.raises(NvmlUnavailable, match="nvidia-ml-py"):
        watch.energy()


def listing(*pids: int) -> Listing:
    return Listing(tuple(CardProcess(pid, None, "compute") for pid in pids))


def among(before: Listing | None, *now: int) -> tuple[list[int], str | None]:
    others, doubt = Strangers(before=before).among(listing(*now))
    return [process.pid for process in others], doubt


def test_a_process_knows_itself_by_its_id() -> None:
    assert among(None, os.getpid(), 5) == ([5], None)
    assert among(listing(5), os.getpid(), 5) == ([5], None)
    assert among(listing(5), os.getpid(), 5, 6) == ([5, 6], None)


def test_a_process_knows_itself_by_having_come_since() -> None:
    """In a container: ids are the host's, and this process's own is not among them."""
    assert among(listing(5), 5, 4_000_001) == ([5], None)
    assert among(listing(0, 0), 0, 0, 0) == ([0, 0], None)  # hidden ids
    assert among(listing(3_999_999), 4_000_001) == ([], None)  # the run before has ended meanwhile


def test_what_cannot_be_told_is_said() -> None:
    assert among(listing(), *()) == ([], "NVML does not list this process itself, so it may hide others too")
    pids, doubt = among(listing(5), 5, 6, 7)
    assert pids == [5, 6, 7]
    assert "itself among them" in (doubt or "")
    pids, doubt = among(Listing(reason="No Permission"), 6)
    assert (pids, doubt) == ([6], "the processes from before this one are not known: No Permission")
    assert Strangers().among(Listing(reason="Not Supported")) == ((), "Not Supported")


def test_an_id_once_found_stays() -> None:
    strangers = Strangers(before=listing(5))
    assert [process.pid for process in strangers.among(listing(5, 4_000_001))[0]] == [5]
    assert [process.pid for process in strangers.among(listing(5, 4_000_001, 4_000_002))[0]] == [5, 4_000_002]
    assert [process.pid for process in strangers.among(listing(4_000_001))[0]] == []


@given(
    st.lists(st.integers(1, 9), unique=True),
    st.lists(st.integers(10, 99), unique=True),
    st.integers(100, 200),
)
def test_nobody_who_came_later_is_overlooked(there: list[int], later: list[int], me: int) -> None:
    strangers = Strangers(before=listing(*there))
    assert {process.pid for process in strangers.among(listing(*there, me))[0]} == set(there)
    assert {process.pid for process in strangers.among(listing(*there, me, *later))[0]} == {*there, *later}


def test_what_draws_and_computes_counts_once_as_drawing(library: FakeNvml) -> None:
    library.compute, library.graphics = [(5, 10), (6, None)], [(5, 10)]
    assert [(process.pid, process.kind) for process in processes_on(UUID).processes] == [
        (5, "graphics"),
        (6, "compute"),
    ]
    seen = read()
    assert seen.foreign_processes == (5, 6)
    assert (seen.foreign_bytes, seen.missing) == (
        None,
        {"foreign_bytes": "the driver hides what other processes hold"},
    )


class Meter:
    """A card with a clock of its own: work takes time and power, the counter moves every `tick` seconds."""

    def __init__(self, library: FakeNvml, tick: float = 0.1, group: float = 25e-6, watts: float = 400.0) -> None:
        self.now, self.joules, self.tick, self.group, self.watts = 3.0, 100.0, tick, group, watts
        self.shown = self.joules
        self.free = 0.0  # when all that is enqueued has run
        self.host = 0.0  # seconds that enqueuing a chunk takes
        self.look = 0.0  # seconds that reading the counter takes
        self.chunks: list[tuple[float, float]] = []
        library.answers["GetTotalEnergyConsumption"] = self._count

    def _count(self) -> int:
        self.rest(self.look)
        return round(self.shown * 1000)

    def pass_time(self, seconds: float, watts: float) -> None:
        while seconds > 0:
            step = min(seconds, self.tick - self.now % self.tick + 1e-9)
            self.now += step
            self.joules += step * watts
            seconds -= step
            if self.now % self.tick < 1e-6:
                self.shown = self.joules

    def rest(self, seconds: float) -> None:
        """The host does something else meanwhile: the card works off what is enqueued, and idles then."""
        begin = self.now
        working = min(seconds, max(0.0, self.free - self.now))
        self.pass_time(working, self.watts)
        self.pass_time(seconds - working, 90.0)
        assert self.now >= begin

    def enqueue(self, count: int) -> None:
        begin = self.now
        self.rest(self.host)
        chunk = max(begin, self.free), max(max(begin, self.free) + count * self.group, self.now)
        self.chunks.append(chunk)
        self.free = chunk[1]

    def ran(self) -> int:
        return sum(end <= self.now for _, end in self.chunks)

    def wait(self) -> tuple[float, float]:
        begin, end = self.chunks.pop(0)
        self.rest(max(0.0, end - self.now) + 1e-6)
        return begin, end


def energy_of(meter: Meter, seconds: float = 1.0) -> Energy | str:
    with CardWatch(UUID) as watch:
        return measure_energy(meter, watch, seconds, clock=lambda: meter.now)


@pytest.mark.parametrize("tick", [0.02, 0.1])
@pytest.mark.parametrize("group", [1e-6, 25e-6, 3e-3, 0.7])
def test_energy_of_a_launch_group(library: FakeNvml, tick: float, group: float) -> None:
    meter = Meter(library, tick, group)
    found = energy_of(meter)
    assert isinstance(found, Energy)
    assert found.joules == pytest.approx(400 * group, rel=found.precision + 1e-9)
    assert found.power == pytest.approx(400, rel=found.precision + 0.01)
    assert found.precision < 0.03 or group > 0.5
    assert found.seconds >= 1.0
    assert meter.now < 20


def test_energy_leaves_no_gap_for_the_counter(library: FakeNvml) -> None:
    """Reading the counter and enqueuing take the host a while; the card must not idle meanwhile."""
    meter = Meter(library)
    meter.host, meter.look = 2e-3, 4e-3
    found = energy_of(meter)
    assert isinstance(found, Energy)
    assert found.busy == pytest.approx(1, abs=1e-3)
    assert found.joules == pytest.approx(400 * 25e-6, rel=found.precision + 1e-3)
    assert meter.chunks == []


@pytest.mark.parametrize(("pause", "told"), [(35e-3, True), (0.3, False)])
def test_energy_on_a_host_with_pauses(library: FakeNvml, pause: float, told: bool) -> None:
    """Others keep the host from its work now and then: shortly, which the queue outlasts, or for longer."""
    meter, looks, count = Meter(library, 0.02), iter(range(10**6)), library.answers["GetTotalEnergyConsumption"]

    def with_pauses() -> int:
        meter.look = 3.5e-3 + pause * (next(looks) % 7 == 3)
        return int(count())

    library.answers["GetTotalEnergyConsumption"] = with_pauses
    found = energy_of(meter)
    assert isinstance(found, Energy) == told, found
    assert meter.chunks == []
    if isinstance(found, Energy):
        assert found.busy == pytest.approx(1, abs=1e-3)
        assert found.joules == pytest.approx(400 * 25e-6, rel=found.precision + 1e-3)
        assert found.precision >= pause / found.seconds
    else:
        assert found.startswith("the work ran for ")


def test_energy_of_a_card_that_waits_for_the_host_is_refused(library: FakeNvml) -> None:
    meter = Meter(library)
    meter.look = 60e-3  # longer than the chunks that are in the queue
    assert str(energy_of(meter)).startswith("the work ran for ")
    meter = Meter(library)
    meter.host = 15e-3  # the host enqueues more slowly than the card runs
    meter.group = 1e-6
    found = energy_of(meter)
    assert isinstance(found, str)
    assert "are due: the rest is an idle card's" in found
    assert meter.chunks == []


def test_energy_that_cannot_be_said(library: FakeNvml) -> None:
    meter = Meter(library, tick=0.4)
    assert "moved" in str(energy_of(meter, 0.5))
    meter = Meter(library)
    meter.tick = 1e9
    assert "moved 0 times" in str(energy_of(meter))
    library.answers["GetTotalEnergyConsumption"] = iter(range(10**9, 0, -1)).__next__
    assert "went back" in str(energy_of(meter))
    del library.answers["GetTotalEnergyConsumption"]
    assert energy_of(meter) == "no energy counter: Not Supported"


def test_idle_power(library: FakeNvml) -> None:
    meter = Meter(library)
    with CardWatch(UUID) as watch:
        assert measure_idle(watch, 0.5, lambda: meter.now, meter.rest) == pytest.approx(90, rel=0.02)
        meter.tick = 1e9
        assert "did not move" in str(measure_idle(watch, 0.5, lambda: meter.now, meter.rest))
        del library.answers["GetTotalEnergyConsumption"]
        assert measure_idle(watch) == "no energy counter: Not Supported"
