"""From cells to metrics, and to jobs: values with the right side of the interval, reasons where there are none."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from specforge.backend.energy import Energy
from specforge.backend.probe import LiveCard
from specforge.backend.telemetry import Telemetry
from specforge.check.backends import Choice
from specforge.check.jobs import Job, jobs_of
from specforge.check.metrics import floors_of, measured_values, rate_at
from specforge.check.options import Options
from specforge.check.variants import variant_of
from specforge.judge.verdict import Evidence, Value, Verdict, judge
from specforge.kernel.build import Binary
from specforge.measure.calibration import Calibration
from specforge.measure.cell import Cell
from specforge.measure.measurement import Measurement
from specforge.measure.series import Batch, Mode, Series
from specforge.measure.session import Session
from specforge.measure.stopping import Stop
from specforge.spec.facts import Device, load_device
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, plan
from specforge.spec.load import Spec, load_spec
from specforge.spec.metrics import METRICS
from specforge.verify.example import ExampleResult

ROOT = Path(__file__).parents[2]
OK = ExampleResult("ok")
BUFFERS = (BufferPlan("x", (1 << 22,), "f32", "in", ("normal",), "cold", ()),)
LAUNCH = LaunchPlan("f", (1, 1, 1), (32, 1, 1), 0, ("x",))
PLAN = Plan("k", "r", {}, {}, BUFFERS, (LAUNCH,), 16777216.0, 1e6, 1.0, {}, tokens=4.0)
SESSION = Session(None, Calibration(3e12, None))


def series(seconds: float, mode: Mode, stop: Stop | None = None) -> Series:
    samples = tuple(seconds * (1 + number % 5 * 1e-3) for number in range(60))
    return Series(mode, 1, (Batch(samples, Telemetry()),), 10, stop or Stop("precision", 0.002, 0.01))


def process(**changes: object) -> Measurement:
    found = {"isolated": series(10e-6, "isolated"), "amortised": series(8e-6, "amortised")}
    return replace(Measurement("cuda:0", "GPU", "ab", found, cold="proven", before=OK, after=OK), **changes)


@pytest.fixture(scope="module")
def device() -> Device:
    return load_device(ROOT / "specs" / "devices" / "h100_sxm.yaml")


@pytest.fixture(scope="module")
def choice(device: Device) -> Choice:
    card = LiveCard(0, device.file.name, "GPU", "9.0", "580", "13.0", None, None, None, None, None, None, None)
    return Choice("cuda:0", card, device, True, "")


def bandwidth(device: Device) -> float:
    return float(device.names["device.memory_bandwidth"])


def test_every_value(choice: Choice, device: Device) -> None:
    values, missing = measured_values(PLAN, Cell((process(), process())), choice, SESSION)
    assert values["latency"].value == pytest.approx(10e-6, rel=3e-3)
    assert values["amortised_latency"].value == pytest.approx(8e-6, rel=3e-3)
    assert values["bandwidth"].value == pytest.approx(PLAN.bytes / values["latency"].value)
    assert values["amortised_bandwidth"].value == pytest.approx(PLAN.bytes / values["amortised_latency"].value)
    assert values["peak_bandwidth_share"].value == pytest.approx(values["bandwidth"].value / bandwidth(device))
    assert values["achievable_bandwidth_share"].value == pytest.approx(values["amortised_bandwidth"].value / 3e12)
    for value in values.values():
        assert value.low is not None
        assert value.high is not None
        assert value.low < value.value < value.high
    assert set(missing) == {"overlapped_latency", "energy", "tokens_per_joule"}
    assert "declares no `chain`" in missing["overlapped_latency"]
    assert "no target asks for energy" in missing["energy"]


def test_joules_and_tokens(choice: Choice) -> None:
    rounds = [process(energy=Energy(joules, 10, 1.0, 9, 0.01)) for joules in (2e-3, 2.001e-3, 1.999e-3)]
    values, _ = measured_values(PLAN, Cell(tuple(rounds)), choice, SESSION)
    assert values["energy"].value == pytest.approx(2e-3)
    assert values["tokens_per_joule"].value == pytest.approx(2000)
    low, high = values["tokens_per_joule"].low, values["tokens_per_joule"].high
    assert low is not None
    assert high is not None
    assert low < 2000 < high
    _, missing = measured_values(replace(PLAN, tokens=None), Cell(tuple(rounds)), choice, SESSION)
    assert "work.tokens" in missing["tokens_per_joule"]
    apart = [process(energy=Energy(joules, 10, 1.0, 9, 0.01)) for joules in (1e-3, 9e-3)]
    _, missing = measured_values(PLAN, Cell(tuple(apart)), choice, SESSION)
    assert "differ too much" in missing["energy"]


def test_what_the_engine_noted_is_the_reason(choice: Choice) -> None:
    found = process(notes=("no energy: the counter stands still", "not overlapped: cuda:0 knows no dependent launches"))
    _, missing = measured_values(replace(PLAN, chain={"x": "x"}), Cell((found,)), choice, SESSION)
    assert missing["energy"] == "no energy: the counter stands still"
    assert missing["overlapped_latency"].startswith("not overlapped: ")


def test_a_cell_that_is_not_proven_cold_has_no_values(choice: Choice) -> None:
    why = "cold is unproven: less than 4 times the card's L2 passed between two uses"
    cell = Cell((process(), process(cold="unproven", notes=(why,))))
    values, missing = measured_values(PLAN, cell, choice, SESSION)
    assert values == {}
    assert missing["latency"] == missing["speedup"] == missing["amortised_bandwidth"] == why
    assert not set(missing) & {"registers", "error_ratio"}


def test_without_calibration_the_reason_stands(choice: Choice) -> None:
    cell = Cell((process(),))
    for session, said in (
        (Session(missing={"calibration": "no such kernel"}), "no such kernel"),
        (Session(None, Calibration(None, None, {}, {"read": "it is wrong"})), "it is wrong"),
        (None, "not asked for"),
    ):
        values, missing = measured_values(PLAN, cell, choice, session)
        assert "achievable_bandwidth_share" not in values
        assert missing["achievable_bandwidth_share"] == f"the card was not calibrated: {said}"


def test_on_another_card_only_shares_count(choice: Choice) -> None:
    values, missing = measured_values(PLAN, Cell((process(),)), replace(choice, matches=False), SESSION)
    assert set(values) == {"peak_bandwidth_share", "roofline_share", "achievable_bandwidth_share"}
    assert missing == {}
    unknown = replace(choice, matches=False, device=None)
    values, missing = measured_values(PLAN, Cell((process(),)), unknown, SESSION)
    assert set(values) == {"achievable_bandwidth_share"}
    assert "no device file knows" in missing["roofline_share"]
    assert floors_of(PLAN, unknown) == {}


def test_floors_by_the_fastest_unit(choice: Choice, device: Device) -> None:
    assert floors_of(PLAN, choice)["isolated"] == pytest.approx(PLAN.bytes / bandwidth(device))
    busy = replace(PLAN, flops=1e15)
    fastest = max(float(device.names.get(f"device.{name}") or 0) for name in ("bf16_rate", "fp8_rate", "fp4_rate"))
    assert floors_of(busy, choice)["amortised"] == pytest.approx(1e15 / fastest)


def test_doubt_reaches_the_verdict(choice: Choice) -> None:
    spec = load_spec(ROOT / "specs" / "qwen35_h100.yaml")
    target = next(one for one in spec.benchmark("router_topk").targets if one.metric.name == "latency")
    (case,) = target.cases
    wide = Value(target.bound, target.bound * 0.9, target.bound * 1.1, "did not converge: 2.1 % of 1 % asked")
    evidence = {case: Evidence(case, verified=True, values={"latency": wide})}
    (found,) = judge([target], evidence, until="judge", today=date(2026, 11, 22))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason.endswith("straddles the bound; did not converge: 2.1 % of 1 % asked")


def test_every_rate_is_known_for_its_bound(choice: Choice) -> None:
    rates = {name for name in METRICS if rate_at(name, PLAN, choice, SESSION) is not None}
    assert rates == {
        "bandwidth",
        "amortised_bandwidth",
        "peak_bandwidth_share",
        "roofline_share",
        "achievable_bandwidth_share",
    }


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load_spec(ROOT / "specs" / "qwen35_h100.yaml")


def jobs(spec: Spec, choice: Choice, options: Options, metric: str = "latency") -> dict[str, Job]:
    """Of the router, with the targets on one metric alone."""
    whole = spec.benchmark("router_topk")
    part = replace(whole, targets=tuple(target for target in whole.targets if target.metric.name == metric))
    plans, binaries = {}, {}
    for case in part.cases:
        assert case.kernel is not None
        plans[case.id] = plan(case.kernel, case.parameters, case.tunables)
        variant = variant_of(case.kernel, case.parameters, case.tunables)
        binaries[variant] = Binary(
            Path("k.cubin"), "c", Path("k.cu"), "s", Path("k.log"), "sm_90", (), "nvrtc", {}, 1, True
        )
    found = jobs_of([part], part.cases, plans, binaries, choice=choice, options=options)
    return {job.case: job for job in found}


def test_a_job_knows_where_its_verdicts_change(spec: Spec, choice: Choice) -> None:
    found = jobs(spec, choice, Options())
    one = found["router_topk[tokens=1]"]
    assert one.task.rule.bounds == pytest.approx((4.75e-6,))
    assert found["router_topk[tokens=8]"].task.rule.bounds == ()
    amortised = jobs(spec, choice, Options(), "amortised_latency")
    assert amortised["router_topk[tokens=8]"].task.rule.bounds == pytest.approx((2.11e-6,))
    assert (one.processes, one.task.modes, one.task.energy) == (5, ("isolated", "amortised"), 0.0)
    assert one.task.rule.precision == 0.01
    assert 30 < one.timeout < 90
    assert jobs(spec, choice, Options(processes=7))["router_topk[tokens=1]"].processes == 7
