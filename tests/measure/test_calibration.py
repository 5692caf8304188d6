"""What is measured to calibrate a card, and what becomes of each outcome: a number stands for a right result only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specforge.backend.telemetry import Telemetry
from specforge.measure.calibration import MATRIX, NAMES, Reached, calibration, plan_points, reached
from specforge.measure.measurement import Measurement
from specforge.measure.series import Batch, Series
from specforge.measure.stopping import Stop
from specforge.verify.example import ExampleResult

RIGHT = ExampleResult("ok", None, ())
POINTS, _ = plan_points(132, 50 << 20, "9.0")
READ = POINTS[0]


def measured(seconds: float, **changes: object) -> Measurement:
    batch = Batch((seconds,) * 20, Telemetry())
    series = Series("amortised", 12, (batch,), 20, Stop("precision", 0.0, 0.02))
    found = Measurement("card", "GPU-0", "0" * 64, series={"amortised": series}, cold="proven")
    return replace(replace(found, before=RIGHT, after=RIGHT), **changes)


def test_an_h100_reads_two_sizes_beyond_its_l2_and_multiplies_in_two_types():
    points, missing = plan_points(132, 50 << 20, "9.0")
    assert [(point.name, point.parameters.get("words")) for point in points] == [
        ("read", 1 << 26),
        ("read", 1 << 27),
        ("copy", 1 << 26),
        ("bf16", None),
        ("int8", None),
    ]
    assert points[3].parameters == {"floating": True, "bits": 16, "warps": 2112, "rounds": 2048}
    assert missing == {"fp8": "mma.sync has no e4m3 of its own at compute capability 9.0"}


@pytest.mark.parametrize(("capability", "there"), [("8.0", False), ("8.9", True), ("11.0", False), ("12.1", True)])
def test_e4m3_is_measured_where_it_has_an_instruction(capability: str, there: bool):
    points, missing = plan_points(100, 1 << 20, capability)
    assert any(point.name == "fp8" for point in points) == there
    assert ("fp8" in missing) != there


def test_a_large_l2_asks_for_more_bytes():
    points, _ = plan_points(188, 128 << 20, "12.0")
    assert points[0].parameters == {"words": 1 << 27}


def test_a_card_that_no_file_knows_reads_and_copies():
    points, missing = plan_points(None, 0, "7.5")
    assert {point.name for point in points} == {"read", "copy"}
    assert set(missing) == set(MATRIX)


def test_a_rate_is_work_over_the_amortised_median():
    found = reached(READ, 3e8, measured(1e-4))
    assert isinstance(found, Reached)
    assert (found.rate, found.low, found.high) == (pytest.approx(3e12), 1e-4, 1e-4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"before": ExampleResult("wrong", "sums[0] is 1", ())}, "the calibration kernel is wrong: sums[0] is 1"),
        ({"after": ExampleResult("violation", "guard", ())}, "the calibration kernel is wrong: guard"),
        ({"refusal": "2.0 GiB are needed", "series": {}}, "2.0 GiB are needed"),
        ({"series": {}}, "nothing was timed"),
        ({"after": None}, "nothing was timed"),
        ({"cold": "unproven", "notes": ("cold is unproven: too fast",)}, "cold is unproven: too fast"),
    ],
)
def test_what_is_not_right_is_no_number(changes: dict[str, object], reason: str):
    assert reached(READ, 3e8, measured(1e-4, **changes)) == reason


def test_batches_that_do_not_count_and_medians_that_do_not_settle_are_no_number():
    right = measured(1e-4)
    series = right.series["amortised"]
    discarded = replace(series, batches=(replace(series.batches[0], discarded="throttled"),))
    assert isinstance(reached(READ, 3e8, replace(right, series={"amortised": discarded})), str)
    open_ = replace(series, stop=Stop("seconds", 0.05, 0.02))
    assert reached(READ, 3e8, replace(right, series={"amortised": open_})) == "its time did not settle to 2 %"


def test_the_best_size_counts_and_the_first_reason_is_kept():
    slow, fast = (reached(READ, work, measured(1e-4)) for work in (2e8, 3e8))
    found = calibration([("read", slow), ("read", fast), ("copy", "no room"), ("bf16", "late")], {"fp8": "none here"})
    assert found.read == pytest.approx(3e12)
    assert found.copy is None
    assert found.matrix == {}
    assert found.missing == {"copy": "no room", "bf16": "late", "int8": "it was not measured", "fp8": "none here"}
    assert found.points == (slow, fast)


def test_one_size_that_fails_does_not_take_the_other_down():
    found = calibration([("read", "no room"), ("read", reached(READ, 3e8, measured(1e-4)))], {})
    assert found.read == pytest.approx(3e12)
    assert set(found.missing) == set(NAMES) - {"read"}
