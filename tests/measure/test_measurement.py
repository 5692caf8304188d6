from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from specforge.backend.emulated import EmulatorRunner
from specforge.backend.telemetry import Telemetry
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.measurement import Measurement
from specforge.measure.samples import estimate_median
from specforge.measure.timing import Collected
from specforge.spec.geometry import Plan
from specforge.verify.example import Example, ExampleResult

OK, WRONG = ExampleResult("ok"), ExampleResult("wrong", "out[3] is 5, the reference says 4")
START = Measurement("cuda:0 Test", "GPU-1", "ab" * 32)


def timed(floor: float | None, samples: int = 30) -> Measurement:
    taken = tuple(1e-6 * (100 + number % 7) for number in range(samples))
    median = estimate_median(taken)
    return START.checked(OK, OK).timed(Collected(taken, 40), median, samples > 5, 3e-6, floor)


def test_json_holds_it_all() -> None:
    for seen in (START, START.refused("no"), timed(1e-6), timed(None, 3)):
        assert json.loads(json.dumps(asdict(seen), allow_nan=False))["card"] == "cuda:0 Test"


def test_samples_stay_in_order() -> None:
    assert timed(None).samples[:3] == pytest.approx((100e-6, 101e-6, 102e-6))


@pytest.mark.parametrize(("floor", "implausible"), [(None, False), (50e-6, False), (103.5e-6, True)])
def test_below_the_floor_is_implausible(floor: float | None, implausible: bool) -> None:
    assert timed(floor).implausible is implausible


def test_verified_needs_both_checks() -> None:
    assert not START.verified
    assert not START.checked(OK, None).verified
    assert not START.checked(OK, WRONG).verified
    assert not START.checked(WRONG, OK).verified
    assert START.checked(OK, OK).verified


def test_notes_say_what_disturbed() -> None:
    quiet = Telemetry()
    assert timed(None).observed(quiet, quiet, ()).notes == ()
    busy = replace(quiet, foreign_processes=(9, 4))
    notes = timed(None, 3).observed(busy, quiet, ("sw_power_cap",)).notes
    assert [note.split(":")[0] for note in notes] == [
        "the card was slowed", "other processes used the card", "the median did not settle within 3 samples",
    ]  # fmt: skip


def test_the_emulator_measures_nothing() -> None:
    task = MeasureTask(Plan("k", "", {}, {}, (), (), 0, 0, 0, {}), "x", "y", Example({}), None, None)
    with pytest.raises(TypeError, match="measures nothing"):
        measure_case(EmulatorRunner(), task)
