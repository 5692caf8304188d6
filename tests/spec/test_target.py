"""Targets: read against the registry of metrics, bound to their cases."""

from __future__ import annotations

import pytest

from specforge.spec.metrics import METRICS
from specforge.units import format_quantity

SPILL = "{metric: spill_bytes, equals: 0}"
LATENCY = (
    '{metric: latency, at_most: "9 us", when: "rows == 32", level: warn,\n'
    '       known_miss: {reason: "not yet", until: 2027-02-01}}'
)
TOKENS = '{metric: decode_throughput, at_least: "100 tok/s", baseline: {value: "50 tok/s", source: "somebody"}}'


NEEDY = ("decode_throughput", "overlapped_latency", "tokens_per_joule", "speedup", "amortised_speedup", "specialised")
"""Metrics that need more than this project's kernel declares."""


@pytest.mark.parametrize("name", [name for name in METRICS if name not in NEEDY])
def test_every_metric_of_a_kernel_can_be_bounded_in_its_own_direction(files, name):
    metric = METRICS[name]
    comparison = {"lower": "at_most", "higher": "at_least"}[metric.better]
    bound = "3" if metric.unit == "1" else f'"{format_quantity(0.5, metric.unit)}"'
    files.replace("spec", LATENCY, f"{{metric: {name}, {comparison}: {bound}}}")
    target = files.load().benchmark("scale").targets[-1]
    assert (target.metric, target.comparison, target.when) == (metric, comparison, None)
    assert target.bound == (3 if metric.unit == "1" else 0.5)
    assert target.level == "required"
    assert target.cases == ("scale[rows=32]", "scale[rows=512]")
    assert target.text.startswith(name)


@pytest.mark.parametrize("name", METRICS)
def test_the_wrong_direction_is_explained(files, name):
    wrong, right = ("at_least", "at_most") if METRICS[name].better == "lower" else ("at_most", "at_least")
    old = TOKENS if name == "decode_throughput" else LATENCY
    files.replace("spec", old, f"{{metric: {name}, {wrong}: 1234}}")
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF410", files.find("spec", "1234"))
    assert f"`{right}:`" in fault.hint


@pytest.mark.parametrize(
    ("new", "code", "at"),
    [
        ("{metric: latncy, at_most: 9 us}", "SF402", "latncy"),
        ("{metric: latency}", "SF203", "{metric: latency}"),
        ("{metric: latency, at_most: 9 us, at_least: 1 us}", "SF203", "{metric: latency, at_most"),
        ("{metric: latency, at_most: 9}", "SF205", "9}"),
        ("{metric: latency, at_most: 9 GB/s}", "SF205", "9 GB/s"),
        ("{metric: latency, at_most: fast}", "SF205", "fast"),
        ("{metric: latency, at_most: true}", "SF203", "true"),
        ("{metric: latency, at_most: [9 us]}", "SF203", "[9 us]"),
        ("{metric: latency, at_most: -9 us}", "SF410", "-9 us"),
        ("{metric: latency, equals: 9 us}", "SF410", "9 us"),
        ("{metric: registers, at_most: 64 B}", "SF205", "64 B"),
        ("{metric: registers, at_most: -1}", "SF410", "-1"),
        ("{metric: occupancy, at_least: 0.5}", "SF205", "0.5"),
        ("{metric: occupancy, at_least: 120 %}", "SF410", "120 %"),
        ("{metric: roofline_share, at_least: 101 %}", "SF410", "101 %"),
        ("{metric: latency, at_most: 9 us, when: rows}", "SF304", "rows}"),
        ("{metric: latency, at_most: 9 us, when: row == 32}", "SF303", "row =="),
        ("{metric: latency, at_most: 9 us, when: rows == 33}", "SF408", "rows == 33"),
        ("{metric: latency, at_most: 9 us, when: rows == 1}", "SF408", "rows == 1"),
        ("{metric: latency, at_most: 9 us, when: 'rows =='}", "SF301", "='"),
        ("{metric: latency, at_most: 9 us, level: urgent}", "SF204", "urgent"),
        ("{metric: latency, at_most: 9 us, levl: warn}", "SF201", "levl"),
        ("{metric: latency, at_most: 9 us, baseline: {value: 9 GB/s, source: x}}", "SF205", "9 GB/s"),
        ("{metric: latency, at_most: 9 us, baseline: {value: 9 us}}", "SF202", "baseline"),
        ("{metric: latency, at_most: 9 us, known_miss: {reason: x}}", "SF202", "known_miss"),
        ("{metric: latency, at_most: 9 us, known_miss: {reason: '', until: 2027-02-01}}", "SF203", "''"),
        ("{metric: latency, at_most: 9 us, known_miss: {reason: x, until: soon}}", "SF203", "soon"),
        ("{metric: latency, at_most: 9 us, known_miss: {reason: x, until: 2027-02-30}}", "SF101", "2027-02-30"),
        ("{metric: decode_throughput, at_least: 9 tok/s}", "SF410", "decode_throughput"),
    ],
)
def test_what_makes_no_sense(files, new, code, at):
    files.replace("spec", TOKENS, "{metric: decode_throughput, at_least: 5 tok/s}")
    files.replace("spec", LATENCY, new)
    if new == "{metric: decode_throughput, at_least: 9 tok/s}":
        files.replace("spec", "5 tok/s", "50 tok/s")
        files.replace("spec", "  token:\n    - {metric: decode_throughput, at_least: 50 tok/s}\n", "")
    fault = files.fault()
    assert (fault.code, fault.position) == (code, files.find("spec", at)), fault


def test_a_kernels_metric_is_none_of_a_step(files):
    files.replace("spec", TOKENS, "{metric: bandwidth, at_least: 1 GB/s}")
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF410", files.find("spec", "bandwidth"))


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.scope == "device"])
def test_a_workload_bounds_no_absolute_figure(files, name):
    files.replace("workload", SPILL, f"{{metric: {name}, at_most: 1}}")
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF410", files.find("workload", f"{name}, at_most"))
    assert "into the spec of the card" in fault.hint


def test_zero_needs_no_unit(files):
    assert files.load().benchmark("scale").targets[0].bound == 0.0


@pytest.mark.parametrize(("new", "good"), [("9 us", 9e-6), ("0.009 ms", 9e-6), ("9000ns", 9e-6)])
def test_bounds_are_in_base_units(files, new, good):
    files.replace("spec", '"9 us"', f'"{new}"')
    assert files.load().benchmark("scale").targets[2].bound == pytest.approx(good)


def test_a_target_says_itself_as_a_person_would(files):
    scale = files.load().benchmark("scale")
    assert scale.targets[1].id == "scale: peak_bandwidth_share >= 50 % when rows >= 512"
