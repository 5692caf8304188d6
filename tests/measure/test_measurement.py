from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from specforge.backend.emulated import EmulatorRunner
from specforge.backend.telemetry import Telemetry
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.floors import measure_floors
from specforge.measure.measurement import Measurement
from specforge.measure.series import MODES, Batch, Series
from specforge.measure.stopping import Stop
from specforge.spec.geometry import Plan
from specforge.verify.example import Example, ExampleResult

OK, WRONG = ExampleResult("ok"), ExampleResult("wrong", "out[3] is 5, the reference says 4")
START = Measurement("cuda:0 Test", "GPU-1", "ab" * 32)
STOP = Stop("precision", 0.003, 0.01)


def series(*batches: Batch) -> Series:
    return Series("isolated", 1, batches, 20, STOP)


def batch(*samples: float, discarded: str | None = None) -> Batch:
    return Batch(samples, Telemetry(), discarded)


def test_the_modes() -> None:
    assert MODES == ("isolated", "amortised", "overlapped")


def test_json_holds_it_all() -> None:
    timed = replace(START, series={"isolated": series(batch(1e-6, 2e-6))}, before=OK, after=OK)
    for seen in (START, START.refused("no"), timed):
        assert json.loads(json.dumps(asdict(seen), allow_nan=False))["card"] == "cuda:0 Test"


def test_samples_stay_in_order_and_discarded_batches_stay_out() -> None:
    found = series(batch(3.0, 1.0), batch(9.0, discarded="slowed"), batch(2.0))
    assert found.samples == (3.0, 1.0, 2.0)
    assert found.median.value == 2.0
    assert found.batches[1].samples == (9.0,)
    with pytest.raises(ValueError, match="no samples"):
        _ = series(batch(9.0, discarded="slowed")).median


def test_verified_needs_both_checks() -> None:
    for before, after in ((None, None), (OK, None), (OK, WRONG), (WRONG, OK)):
        assert not replace(START, before=before, after=after).verified
    assert replace(START, before=OK, after=OK).verified


def test_a_note_stands_once() -> None:
    assert START.noted("a", "b").noted("b", "c").notes == ("a", "b", "c")


def test_the_emulator_measures_nothing() -> None:
    task = MeasureTask(Plan("k", "", {}, {}, (), (), 0, 0, 0, {}), "x", "y", Example({}), None)
    with pytest.raises(TypeError, match="measures nothing"):
        measure_case(EmulatorRunner(), task)
    with pytest.raises(TypeError, match="measures nothing"):
        measure_floors(EmulatorRunner())
