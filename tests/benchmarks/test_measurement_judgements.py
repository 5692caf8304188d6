"""What the measurement benchmarks conclude, each with a planted fault that shows that it can fail."""

from __future__ import annotations

import copy
import json
import random
import signal
import sys
from dataclasses import replace

import pytest

from benchmarks.measurement import agreement, cost, repeatability, resilience, truth
from benchmarks.measurement.nvbench import Timed

NEVER = agreement.Evidence(
    launch_seconds=1e-6, rotated=20e-6, flushed=20e-6, queued=18e-6, streamed=18e-6, graphed=18e-6
)


def test_tools_agree_within_two_per_cent():
    found = agreement.compare("isolated", {"SpecForge isolated": 100e-6, "nvbench cold": 101e-6}, NEVER)
    assert found["consensus"] == pytest.approx(100.5e-6)
    assert all(entry["within"] for entry in found["tools"].values())


def test_half_a_microsecond_is_allowed_to_short_kernels():
    within = agreement.compare("duration", {"ncu": 3e-6, "a": 3.4e-6, "b": 3.45e-6}, NEVER)
    assert all(entry["within"] for entry in within["tools"].values())
    beyond = agreement.compare("duration", {"ncu": 2.8e-6, "a": 3.4e-6, "b": 3.45e-6}, NEVER)
    assert not beyond["tools"]["ncu"]["within"]
    assert beyond["tools"]["ncu"]["explanation"] is None


def test_a_host_too_slow_for_the_card_explains_a_batch():
    values = {"SpecForge amortised": 2e-6, "nvbench batch of graphs": 2.1e-6, "nvbench batch of launches": 6e-6}
    slow = replace(NEVER, launch_seconds=5.8e-6)
    found = agreement.compare("amortised", values, slow)["tools"]["nvbench batch of launches"]
    assert not found["within"]
    assert "5.80 us" in found["explanation"]
    assert agreement.compare("amortised", values, NEVER)["tools"]["nvbench batch of launches"]["explanation"] is None


LAUNCHES = "nvbench batch of launches"
READ_64_MIB = {"SpecForge amortised": 16.67e-6, "nvbench batch of graphs": 16.69e-6, LAUNCHES: 18.31e-6}


@pytest.mark.parametrize("way", ["queued", "streamed"])
def test_plain_launches_by_hand_explain_a_batch_of_them(way):
    seen = replace(NEVER, queued=16.7e-6, streamed=16.7e-6, graphed=16.7e-6)
    found = agreement.compare("amortised", READ_64_MIB, replace(seen, **{way: 18.1e-6}))["tools"][LAUNCHES]
    assert not found["within"]
    assert "one takes 18.10 us, 1.40 us more than in a graph" in found["explanation"]
    assert ("host far ahead" in found["explanation"]) == (way == "queued")


@pytest.mark.parametrize(
    ("evidence", "values"),
    [
        ({"queued": 16.8e-6, "graphed": 16.7e-6}, {}),  # by hand, plain launches take hardly longer
        ({"queued": 17.4e-6, "graphed": 16.7e-6}, {}),  # longer, but by half of what it is about
        ({"queued": 20.0e-6, "graphed": 16.7e-6}, {}),  # far longer than the tool's
        ({"queued": 18.1e-6, "graphed": 17.9e-6}, {}),  # as long as the tool's, but so is a graph by hand
        ({"queued": 18.1e-6, "graphed": 16.7e-6}, {LAUNCHES: 15.0e-6}),  # the tool's are shorter than a graph's
        ({"queued": 18.1e-6, "graphed": 16.7e-6}, {"nvbench batch of graphs": 18.3e-6}),  # a graph is off, too
    ],
)
def test_plain_launches_by_hand_do_not_explain_everything(evidence, values):
    found = agreement.compare("amortised", READ_64_MIB | values, replace(NEVER, streamed=16.7e-6, **evidence))
    off = [entry for entry in found["tools"].values() if not entry["within"]]
    assert [entry["explanation"] for entry in off] == [None] * len(off) != []


def test_plain_launches_explain_nothing_but_batches_of_launches():
    seen = replace(NEVER, queued=18.1e-6, streamed=18.1e-6, graphed=16.7e-6)
    values = {"SpecForge isolated": 16.67e-6, LAUNCHES: 18.31e-6}
    assert agreement.compare("isolated", values, seen)["tools"][LAUNCHES]["explanation"] is None
    values = {"SpecForge amortised": 18.31e-6, "nvbench batch of graphs": 16.69e-6, LAUNCHES: 16.7e-6}
    assert agreement.compare("amortised", values, seen)["tools"]["SpecForge amortised"]["explanation"] is None


def test_lines_still_to_be_written_back_explain_a_flush():
    values = {"SpecForge isolated": 20e-6, "nvbench cold": 26e-6}
    seen = replace(NEVER, flushed=25.8e-6)
    for entry in agreement.compare("isolated", values, seen)["tools"].values():
        assert not entry["within"]
        assert "5.80 us" in entry["explanation"]
    other = replace(NEVER, flushed=21e-6)  # by hand it adds far less
    assert agreement.compare("isolated", values, other)["tools"]["nvbench cold"]["explanation"] is None


def test_durations_are_net_of_what_the_same_tool_reads_for_nothing():
    ours = {"null": {"isolated": 3e-6, "amortised": 1e-6}, "k": {"isolated": 12e-6, "amortised": 9e-6}}
    theirs = {"null": Timed((4e-6,), None, 2e-6, 1e-6), "k": Timed((13e-6, 13e-6), None, 9.5e-6, None)}
    found = agreement.groups(ours, theirs, {"null": 1.2e-6, "k": 10e-6}, "null")["k"]
    assert found["duration"] == pytest.approx(
        {"ncu": 10e-6, "SpecForge isolated, net": 10.2e-6, "nvbench cold, net": 10.2e-6}
    )
    assert found["amortised"] == pytest.approx({"SpecForge amortised": 9e-6, "nvbench batch of launches": 9.5e-6})
    assert agreement.groups(ours, {}, {}, "null")["k"]["isolated"] == {"SpecForge isolated": 12e-6}


def test_variation_is_judged_from_twenty_microseconds_on():
    calm, rough = [50e-6, 50.02e-6, 49.98e-6], [50e-6, 50.1e-6, 49.9e-6]
    wild = [50e-6, 51e-6, 49e-6]

    def met(isolated: list[float], amortised: list[float], theirs: list[float] | None) -> bool | None:
        sides = {repeatability.OURS: isolated, repeatability.OURS_MANY: amortised}
        return repeatability.judge(sides if theirs is None else sides | {repeatability.THEIRS: theirs})["met"]

    assert met(calm, calm, rough)
    assert met(calm, calm, calm)
    assert met(rough, calm, [50e-6, 50.05e-6, 49.95e-6])  # twice nvbench's: what chance makes of equals
    assert met(rough, calm, calm) is False  # five times
    assert met(calm, rough, calm) is False
    assert met(wild, calm, wild) is False
    assert met(calm, calm, None) is False
    assert met([5e-6, 6e-6], [4e-6, 5e-6], None) is None


def test_a_wait_is_known_to_one_per_cent_or_half_a_microsecond():
    assert truth.net(13.4e-6, 3e-6, 10e-6)["within"]
    assert not truth.net(13.6e-6, 3e-6, 10e-6)["within"]
    assert truth.net(1009e-6, 3e-6, 1000e-6)["within"]
    assert not truth.net(1014e-6, 3e-6, 1000e-6)["within"]


def processes(count, middle, seed):
    draw = random.Random(seed)
    shifts = [middle * (1 + draw.gauss(0, 0.001)) for _ in range(count)]
    return [[shift * (1 + draw.gauss(0, 0.005)) for _ in range(100)] for shift in shifts]


def test_a_planted_slow_down_is_found_and_none_is_seen_where_there_is_none():
    before = processes(16, 25e-6, 1)
    assert truth.trials(before, processes(9, 25.5e-6, 2), 20, random.Random(3)) == {"slower": 20}
    said = truth.trials(before, before, 20, random.Random(4))
    assert not {"slower", "faster"} & said.keys()
    assert truth.trials(before, processes(9, 24.5e-6, 5), 20, random.Random(3)) == {"faster": 20}


def test_cost_counts_the_samples_that_are_needed():
    assert cost.samples_needed([10e-6] * 30) == cost.LEAST_SAMPLES
    noisy = [10e-6 * (1 + random.Random(number).uniform(-0.05, 0.05)) for number in range(400)]
    needed = cost.samples_needed(noisy)
    assert 10 < needed < 400
    assert cost.samples_needed(noisy[:20]) > 20  # extrapolated
    assert cost.samples_needed([1e-6] * 5) == float("inf")
    found = cost.scaled(noisy, 4.0)
    assert found["to_precision"] == pytest.approx(4.0 * needed / 400)
    both = cost.total([found, found], wall=12.0, startup=1.0)
    assert both["sampling"] == 8.0
    assert both["whole"] == pytest.approx(3.0 + 8.0 * needed / 400)


def process(sample):
    return {"binary_sha256": "0", "series": {"isolated": {"batches": [{"samples": [sample, 1.0]}, {"samples": [2.0]}]}}}


def record(rounds=2, verdict="met"):
    cells = ["a[n=1]", "a[n=2]"]
    return {
        "targets": [{"id": "t", "metric": "latency"}],
        "judgements": [{"target": "t", "case": case, "verdict": verdict, "reason": "why"} for case in cells],
        "cases": [
            {"id": case, "fault": None, "trouble": None, "wrong": None, "implausible": None,
             "measurement": {"rounds": [process(place + turn / 8) for turn in range(rounds)]}}
            for place, case in enumerate(cells)
        ],
    }  # fmt: skip


def test_a_resumed_run_that_ends_the_same():
    held = set(resilience.sample_sets(record()))
    assert len(held) == 4
    assert resilience.difference(record(), record(), held) == []


def test_what_a_resumed_run_may_get_wrong():
    good, held = record(), set(resilience.sample_sets(record()))
    lost = record(rounds=1)
    assert any("rounds is 1, undisturbed 2" in fault for fault in resilience.difference(good, lost, set()))
    assert any("2 of 4 sample sets" in fault for fault in resilience.difference(lost, lost, held))
    doubled = copy.deepcopy(good)
    doubled["cases"][0]["measurement"]["rounds"][1] = doubled["cases"][0]["measurement"]["rounds"][0]
    assert any("2 times the same samples" in fault for fault in resilience.difference(good, doubled, set()))
    assert any("verdicts" in fault for fault in resilience.difference(good, record(verdict="missed"), set()))
    shorter = copy.deepcopy(good)
    del shorter["cases"][1], shorter["judgements"][1]
    assert "a[n=2] is missing" in resilience.difference(good, shorter, set())
    assert "the undisturbed run measured nothing" in resilience.difference(record(rounds=0), record(rounds=0), set())


def test_a_journal_whose_last_line_was_cut(tmp_path):
    folder = tmp_path / "journal" / "run"
    folder.mkdir(parents=True)
    line = json.dumps({"what": {"case": "a", "round": 0, "measurement": process(7.0)}, "digest": "x"})
    (folder / "cells.jsonl").write_text(f"{line}\n{line.replace('7.0', '8.0')[:-9]}")
    (tmp_path / "other.jsonl").write_text(line.replace("7.0", "9.0"))
    assert resilience.journaled(tmp_path) == set(resilience.sample_sets(json.loads(line)))


SLEEPER = (
    "import sys, time; print('specforge: fuzzing', file=sys.stderr, flush=True); time.sleep(0.3);"
    "print('specforge: measuring on cuda:0', file=sys.stderr, flush=True); time.sleep({seconds})"
)


@pytest.mark.parametrize("kill", ["early", "late"])
def test_a_kill_comes_when_it_shall(tmp_path, monkeypatch, kill):
    monkeypatch.setattr(resilience, "CHECK", (sys.executable, "-c", SLEEPER.format(seconds=60)))
    ended = resilience.Runner("resume.yaml", tmp_path).run(**{kill: 0.2})
    assert ended.status == -signal.SIGKILL
    assert ended.seconds < 20
    assert kill == "early" or ended.seconds >= ended.measuring_after + 0.2


def test_a_run_that_ends_ahead_of_its_kill_is_a_fault(tmp_path, monkeypatch):
    text = json.dumps(record())
    quick = SLEEPER.format(seconds=0.2) + f"; open(sys.argv[sys.argv.index('--record') + 1], 'w').write({text!r})"
    monkeypatch.setattr(resilience, "CHECK", (sys.executable, "-c", quick))
    monkeypatch.setattr(resilience, "left_on_card", list)
    monkeypatch.setattr(resilience, "LATE", (50.0, 60.0))
    found = resilience.killed(tmp_path, random.Random(1), 4)
    assert found["killed"] == 3
    assert any("kill 3 came too late: the run had ended with 0" in fault for fault in found["faults"])


def test_a_run_that_is_let_be_ends_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(resilience, "CHECK", (sys.executable, "-c", SLEEPER.format(seconds=0.2)))
    ended = resilience.Runner("resume.yaml", tmp_path).run()
    assert (ended.status, ended.seconds < 20) == (0, True)
    assert "measuring on cuda:0" in ended.said


def hostile(**verdicts):
    cases = {"healthy_before[n=1]": ("met", None), "hang[n=1]": ("error", "hang: no answer within 10 s")} | verdicts
    return {
        "targets": [{"id": "t", "metric": "latency"}],
        "judgements": [
            {"target": "t", "case": case, "verdict": verdict, "reason": said or ""}
            for case, (verdict, said) in cases.items()
        ],
        "cases": [
            {"id": case, "fault": said, "trouble": None, "wrong": None, "implausible": None, "measurement": None}
            for case, (_, said) in cases.items()
        ],
    }


def test_hostile_kernels_cost_only_themselves():
    assert resilience.hostile_faults(hostile()) == []
    assert "passed" in resilience.hostile_faults(hostile(**{"hang[n=1]": ("met", None)}))[0]
    assert "no reason" in resilience.hostile_faults(hostile(**{"hang[n=1]": ("error", None)}))[0]
    assert "paid for another" in resilience.hostile_faults(hostile(**{"healthy_before[n=1]": ("error", "busy")}))[0]
