"""The `timing:` section: read with its units, laid over one another, and checked against what targets need."""

from __future__ import annotations

import pytest

from specforge.spec.timing import Timing, TimingSection, resolve_timing

WORKLOAD_HEAD = "workload: demo\n"
SPEC_HEAD = "device: devices/card.yaml\n"
KERNEL_LINE = "    kernel: demo/scale\n"
SPILL = "{metric: spill_bytes, equals: 0}"
LATENCY = '{metric: latency, at_most: "9 us", when: "rows == 32", level: warn,\n'


def timed(files, workload: str = "", spec: str = "", benchmark: str = "") -> Timing:
    for where, head, text in (("workload", WORKLOAD_HEAD, workload), ("spec", SPEC_HEAD, spec)):
        if text:
            files.replace(where, head, f"{head}timing: {text}\n")
    if benchmark:
        files.replace("workload", KERNEL_LINE, f"{KERNEL_LINE}    timing: {benchmark}\n")
    return files.load().benchmark("scale").timing


def test_defaults(files):
    timing = timed(files)
    assert timing == Timing(0.01, 3, 3.0, ())
    assert timing.modes_of(chained=False) == ("isolated", "amortised")
    assert timing.modes_of(chained=True) == ("isolated", "amortised", "overlapped")


def test_a_whole_section(files):
    given = '{precision: "0.5 %", processes: 5, seconds: "900 ms", modes: [amortised, isolated]}'
    assert timed(files, spec=given) == Timing(0.005, 5, 0.9, ("isolated", "amortised"))


@pytest.mark.parametrize(("given", "rounds"), [("processes: 5", 5), ("peer_processes: 2", 2), ("peer_processes: 9", 3)])
def test_the_first_rounds_measure_peers(files, given, rounds):
    assert timed(files, spec=f"{{{given}}}").peer_rounds == rounds


def test_one_mode_needs_no_list(files):
    assert timed(files, spec="{modes: isolated}").modes_of(chained=True) == ("isolated",)


def test_the_spec_wins_over_the_workload_and_a_benchmark_over_both(files):
    timing = timed(
        files,
        workload='{precision: "2 %", processes: 5, seconds: "1 s"}',
        spec='{precision: "3 %", processes: 7}',
        benchmark='{precision: "4 %"}',
    )
    assert timing == Timing(0.04, 7, 1.0, ())


def test_nothing_said_changes_nothing():
    assert resolve_timing(None, TimingSection(), None) == Timing()


@pytest.mark.parametrize(
    ("text", "code", "at", "hint"),
    [
        ("{precision: 17}", "SF205", "17}", None),
        ('{precision: "1 s"}', "SF205", '"1 s"', None),
        ('{precision: "0 %"}', "SF203", '"0 %"', None),
        ('{precision: "100 %"}', "SF203", '"100 %"', None),
        ("{processes: 0}", "SF203", "0}", None),
        ("{processes: 1.5}", "SF203", "1.5}", None),
        ("{seconds: 3}", "SF205", "3}", None),
        ('{seconds: "2 h"}', "SF205", '"2 h"', None),
        ('{seconds: "4000 s"}', "SF203", '"4000 s"', None),
        ("{modes: []}", "SF203", "[]}", None),
        ("{modes: [isolatd]}", "SF204", "isolatd", "isolated"),
        ("{modes: [isolated, isolated]}", "SF203", "[isolated, isolated]", None),
        ("{procesess: 3}", "SF201", "procesess", "processes"),
    ],
)
def test_malformed_sections_name_their_place(files, text, code, at, hint):
    files.replace("spec", SPEC_HEAD, f"{SPEC_HEAD}timing: {text}\n")
    fault = files.fault()
    assert (fault.code, fault.position) == (code, files.find("spec", at)), fault
    assert hint is None or hint in fault.hint


def test_a_target_on_a_mode_that_is_not_timed(files):
    files.replace("spec", SPEC_HEAD, f"{SPEC_HEAD}timing: {{modes: [isolated]}}\n")
    files.replace("spec", LATENCY, LATENCY.replace("latency", "amortised_latency"))
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF410", files.find("spec", "{metric: amortised_latency"))
    assert "add amortised to the `modes` of `timing`" in fault.hint


def test_a_target_on_overlap_needs_a_chain(files):
    files.replace("spec", LATENCY, LATENCY.replace("latency", "overlapped_latency"))
    assert "declares no `chain`" in files.fault().message


def test_tokens_per_joule_needs_tokens(files):
    old = '{metric: latency, at_most: "9 us"'
    files.replace("spec", old, '{metric: tokens_per_joule, at_least: "9 tok/J"')
    fault = files.fault()
    assert fault.code == "SF410"
    assert "tokens: FORMULA" in fault.hint
    files.replace("kernel", "work: {", 'work: {tokens: "rows", ')
    target = files.load().benchmark("scale").targets[-1]
    assert (target.metric.name, target.bound) == ("tokens_per_joule", 9.0)


def test_tokens_are_computed_and_checked(files):
    from specforge.spec.geometry import plan

    files.replace("kernel", "work: {", 'work: {tokens: "rows", ')
    case = files.load().benchmark("scale").cases[0]
    assert plan(case.kernel, case.parameters, case.tunables).tokens == 32
    files.replace("kernel", '"rows", ', '"rowz", ')
    fault = files.fault()
    assert (fault.code, "rows" in fault.hint) == ("SF301", True) or fault.code.startswith("SF30")
