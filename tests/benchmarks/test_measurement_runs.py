"""The measurement benchmarks from end to end on an imagined card, every tool replaced by one that knows the answer."""

from __future__ import annotations

import json
import random
import sys

import pytest

from benchmarks.measurement import agreement, command, cost, document, engine, repeatability, result, truth, tuner
from benchmarks.measurement.nvbench import Run, Timed
from specforge.backend.probe import LiveCard
from specforge.backend.telemetry import Telemetry
from specforge.measure.measurement import Measurement
from specforge.measure.series import Batch, Series
from specforge.measure.stopping import Stop

CARD = LiveCard(0, "A card", "GPU-0", "9.0", "580", "13.0", 1 << 36, None, None, None, None, None, None)
FLOOR = {"isolated": 3e-6, "amortised": 1e-6}


def seconds_of(ready):
    parameters = ready.subject.parameters
    if "nanoseconds" in parameters:
        return parameters["nanoseconds"] * 1e-9
    return parameters["tiles"] * parameters.get("rounds", 1) * 5e-9


def measured(ready, *, modes=("isolated", "amortised"), **_):
    draw = random.Random(repr(ready.subject))
    series = {}
    for mode in modes:
        samples = tuple((seconds_of(ready) + FLOOR[mode]) * (1 + draw.uniform(0, 1e-3)) for _ in range(50))
        batch = Batch(samples, Telemetry(reason="imagined"))
        series[mode] = Series(mode, 1, (batch,), 20, Stop("precision", 0.001, 0.01))
    return engine.Round(Measurement("card", "GPU-0", "0" * 64, series, cold="proven"), 0.5, 0.3, 0.1)


def nvbench_run(subjects, *_, graphs=True, batched=True):
    timed = {
        ready.subject.name: Timed(
            tuple((seconds_of(ready) + 3.1e-6) * (1 + number / 1e5) for number in range(100)),
            0.02,
            max(seconds_of(ready), 4e-6) + 1e-6 if batched else None,
            seconds_of(ready) + 1.1e-6 if graphs else None,
        )
        for ready in subjects
    }
    return Run(timed, "0.3.0", 3e-6, 1.0, 4.0)


def ncu_run(subjects, *_, cache):
    if cache == "all":
        raise RuntimeError("ncu ended with 1")
    return {ready.subject.name: (seconds_of(ready) + 1.2e-6,) * 10 for ready in subjects}


def events_run(subjects, *_, host=(), timer=None):
    jobs = {}
    for ready in subjects:
        name, rotated = ready.subject.name, [seconds_of(ready) + 3e-6] * 9
        ways = dict.fromkeys(("rotated", "flushed", "queued", "streamed", "graphed"), rotated)
        jobs[name] = ways | ({"host": seconds_of(ready)} if name in host else {})
    return {"jobs": jobs, "timer_steps": {"least": 32, "median": 32, "most": 64} if timer else None}


@pytest.fixture
def imagined(monkeypatch, tmp_path):
    monkeypatch.setattr(result, "live_card", lambda: CARD)
    monkeypatch.setattr(command, "l2_size", lambda: 50 << 20)
    for module in (agreement, repeatability, truth):
        monkeypatch.setattr(module, "measure", measured)
    monkeypatch.setattr(agreement.nvbench, "run", nvbench_run)
    monkeypatch.setattr(agreement.ncu, "run", ncu_run)
    monkeypatch.setattr(agreement.events, "run", events_run)
    return ["--results", str(tmp_path / "results"), "--state", str(tmp_path / "state")]


def written(arguments, name):
    return json.loads((result.Path(arguments[1]) / f"{name}.json").read_text())


def test_agreement(imagined, capsys):
    assert agreement.main(imagined) == 1  # a tool failed
    said = capsys.readouterr().out
    assert "FAILED ncu, cache control all" in said
    assert "not explained" not in said
    found = written(imagined, "agreement")
    assert found["card"]["name"] == "A card"
    short = found["compared"]["read 1 MiB"]
    assert set(short) == {"duration", "isolated", "amortised"}
    assert all(entry["within"] for entry in short["duration"]["tools"].values())
    launches = short["amortised"]["tools"]["nvbench batch of launches"]
    assert not launches["within"]
    assert "waits for the host" in launches["explanation"]


def test_agreement_with_a_tool_that_is_wrong(imagined, monkeypatch, capsys):
    def slow(ready, **named):
        found = measured(ready, **named)
        return found if ready.subject.name != "read 64 MiB" else measured(ready.__class__(
            agreement.read(4500, name="read 64 MiB"), ready.plan, ready.cubin, "", "", None, None
        ))  # fmt: skip

    monkeypatch.setattr(agreement, "measure", slow)
    agreement.main([*imagined, "--quick"])
    assert "FAILED read 64 MiB, duration, SpecForge isolated, net: not explained" in capsys.readouterr().out


def test_repeatability(imagined):
    assert repeatability.main(imagined) == 0
    found = written(imagined, "repeatability")
    assert all(len(entry["rounds"]["SpecForge isolated"]) == 5 for entry in found["subjects"].values())


def test_truth(imagined, capsys):
    status = truth.main([*imagined, "--quick"])
    found = written(imagined, "truth")
    assert all(entry["within"] for modes in found["spin"]["waits"].values() for entry in modes.values())
    assert not all(entry["within"] for entry in found["copy"].values())  # the imagined graph's floor is 1 us
    assert status == 1
    assert found["slow_down"]["slower"] == {"slower": 20}
    assert "OFF" in capsys.readouterr().out


def test_cost(imagined, monkeypatch, capsys):
    monkeypatch.setattr(
        cost, "sweep", lambda built, **named: engine.Sweep(tuple(measured(r, **named) for r in built), 0.5)
    )

    def refuse(*_):
        raise RuntimeError("no Kernel Tuner")

    monkeypatch.setattr(tuner, "run", refuse)
    assert cost.main(imagined) == 1
    found = written(imagined, "cost")
    assert list(found["failures"]) == ["Kernel Tuner, 30 samples"]
    ours = found["tools"]["SpecForge, half-width 1 %"]
    assert (ours["cells"], ours["sampling"]) == (16, pytest.approx(1.6))
    assert ours["to_precision"] == pytest.approx(1.6 * cost.LEAST_SAMPLES / 50)
    assert "is the cheapest to 1 % of a cell" in capsys.readouterr().out  # the imagined nvbench takes a tenth


def test_the_page_takes_what_they_write(imagined):
    for module in (agreement, repeatability, truth):
        module.main([*imagined, "--quick"])
    text = document.page(result.Path(imagined[1]))
    assert text.count("Not measured yet") == 2
    assert "comparisons are within the bound" in text


def test_without_a_card_a_sentence_and_no_traceback(monkeypatch, capsys):
    def none():
        raise RuntimeError("no card: no driver")

    monkeypatch.setattr(result, "live_card", none)
    monkeypatch.setattr(sys, "argv", ["agreement"])
    with pytest.raises(SystemExit, match="4"):
        agreement.main([])
    assert "no driver; this benchmark needs one" in capsys.readouterr().err
