"""What several processes say together of one case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specforge.backend.energy import Energy
from specforge.backend.telemetry import Telemetry
from specforge.measure.cell import Cell
from specforge.measure.measurement import Measurement
from specforge.measure.series import Batch, Mode, Series
from specforge.measure.stopping import Stop
from specforge.verify.example import ExampleResult

GOOD = Stop("precision", 0.002, 0.01)
OK = ExampleResult("ok")


def series(
    seconds: float, mode: Mode = "isolated", stop: Stop = GOOD, count: int = 60, discarded: str | None = None
) -> Series:
    samples = tuple(seconds * (1 + number % 5 * 1e-4) for number in range(count))
    return Series(mode, 1, (Batch(samples, Telemetry(), discarded),), 10, stop)


def process(isolated: float = 10e-6, amortised: float = 8e-6, **changes: object) -> Measurement:
    found = {"isolated": series(isolated), "amortised": series(amortised, "amortised")}
    return replace(Measurement("cuda:0", "GPU", "ab", found, cold="proven", before=OK, after=OK), **changes)


def cell(*rounds: Measurement) -> Cell:
    return Cell(rounds)


def test_the_processes_together() -> None:
    found = cell(process(10e-6), process(10.1e-6), process(9.9e-6))
    alone = found.estimate("isolated")
    assert alone is not None
    assert alone.value == pytest.approx(10.002e-6, rel=1e-4)
    assert alone.low < 9.9e-6
    assert alone.high > 10.1e-6
    assert (alone.processes, found.modes, found.estimate("overlapped")) == (3, ("isolated", "amortised"), None)
    assert (found.verified, found.cold, found.refusal, found.notes) == (True, "proven", None, ())


def test_one_process_that_is_wrong_or_unproven_spoils_all() -> None:
    assert not cell(process(), process(after=ExampleResult("wrong", "x"))).verified
    assert not cell(process(), process(after=None)).verified
    assert not cell().verified
    assert cell(process(), process(cold="unproven")).cold == "unproven"
    assert cell(process(cold="hot"), process(cold="hot")).cold == "hot"
    assert cell().cold == "unproven"
    assert cell(process(), process(refusal="no room")).refusal == "no room"


def test_discarded_batches_are_no_samples() -> None:
    lost = process(series={"isolated": series(10e-6, discarded="hot")})
    assert cell(lost).estimate("isolated") is None
    assert cell(lost).modes == ()
    assert cell(lost, process()).estimate("isolated") is not None


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (Stop("seconds", 0.021, 0.01), "did not converge: 2.1 % of 1 % asked, in 1 of 2 processes"),
        (
            Stop("samples", None, 0.01),
            "did not converge: too few samples for an interval of 1 % asked, in 1 of 2 processes",
        ),
        (
            Stop("throttled", 0.03, 0.01),
            "throttled: too many batches did not count; 3 % of 1 % asked, in 1 of 2 processes",
        ),
        (Stop("seconds", 0.008, 0.01), None),
    ],
)
def test_doubt_is_what_did_not_converge(stop: Stop, said: str | None) -> None:
    doubtful = process(series={"isolated": series(10e-6, stop=stop)})
    assert cell(process(), doubtful).doubt("isolated") == said
    assert cell(process(), doubtful).doubt("amortised") is None


def test_below_the_floor_of_its_mode() -> None:
    found = cell(process(10e-6, 8e-6))
    assert found.implausible({"isolated": 9e-6, "amortised": 7e-6}) is None
    assert found.implausible({}) is None
    assert found.implausible({"amortised": 9e-6}) == "8.002 us (amortised) is faster than the roofline's 9.000 us"


def test_energy_over_processes() -> None:
    def counted(joules: float) -> Measurement:
        return process(energy=Energy(joules, 100, 1.0, 9, 0.01))

    found = cell(counted(1.0e-3), counted(1.1e-3), counted(0.9e-3)).energy
    assert found is not None
    assert (found.value, found.processes) == (pytest.approx(1e-3), 3)
    assert found.low < 0.9e-3
    assert cell(counted(1e-3)).energy is None, "one process says nothing of what another would count"
    assert cell(process()).energy is None


def test_modes_that_tell_one_story() -> None:
    assert cell(process(), process(), process()).telling() == ()


def test_slower_in_a_row_than_alone() -> None:
    (told,) = cell(process(8e-6, 10e-6)).telling()
    assert told.startswith("slower among its like than alone: 10.00 us amortised, 8.00 us isolated")


def test_overlap_that_does_not_pay() -> None:
    found = process()
    both = replace(found, series={**found.series, "overlapped": series(9e-6, "overlapped")})
    (told,) = cell(both).telling()
    assert told.startswith("overlapping does not pay: 9.00 us overlapped, 8.00 us amortised")


def test_launches_that_do_not_add_up() -> None:
    def split(first: float, second: float) -> Cell:
        return cell(process(launches={"partial": series(first), "merge": series(second)}))

    assert split(7e-6, 3e-6).telling() == ()
    (told,) = split(7e-6, 7e-6).telling()
    assert told == "its launches one by one (partial 7.00 us + merge 7.00 us) do not add up to the whole (10.00 us)"
    assert split(7e-6, 7e-6).telling(overhead=3e-6) == (), "each launch alone pays for its own events"
    (less,) = split(3e-6, 3e-6).telling()
    assert "do not add up" in less


def test_notes_are_said_once() -> None:
    noted = process(notes=("a",))
    alike = replace(noted.series["isolated"], notes=("the times drift",))
    noted = replace(noted, series={"isolated": alike})
    assert cell(noted, noted).notes == ("a", "the times drift")
