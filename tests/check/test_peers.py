"""Peers in a run: which are measured, what becomes of those that fail, ratios and verdicts that follow."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from specforge.backend.telemetry import Telemetry
from specforge.backend.worker import Worker
from specforge.check.card import CardBusy
from specforge.check.jobs import Job
from specforge.check.journal import Journal, open_journal
from specforge.check.measurement import _Course, measure
from specforge.check.peers import gather_rounds, measure_round, peers_of, speedups
from specforge.check.recording import trusted
from specforge.diagnostics import Position
from specforge.judge.verdict import Evidence, Verdict, judge
from specforge.measure.case import MeasureTask
from specforge.measure.cell import Cell
from specforge.measure.measurement import Measurement
from specforge.measure.peer import PeerCell, PeerMeasurement
from specforge.measure.series import Batch, Mode, Series
from specforge.measure.stopping import Stop
from specforge.spec.geometry import Plan
from specforge.spec.metrics import METRICS
from specforge.spec.peers import DeclaredPeer, declared_peers
from specforge.spec.target import Target
from specforge.verify.compare import OutputError
from specforge.verify.example import Example, ExampleResult

PEERS = """\
def first(tensors, parameters, stream):
    return None


PEERS = {"alpha": first, "beta": first, "gamma": first}
"""


def series(mode: Mode, *samples: float) -> Series:
    return Series(mode, 1, (Batch(samples, Telemetry()),), 5, Stop("precision", 0.001, 0.01))


def times(middle: float, spread: float = 0.002) -> tuple[float, ...]:
    return tuple(middle * (1 + spread * (place - 10) / 10) for place in range(21))


def kernel(isolated: float, amortised: float, rounds: int = 3, shift: float = 0.001) -> Cell:
    def one(number: int) -> Measurement:
        factor = 1 + shift * (number - 1)
        both: dict[str, Series] = {
            "isolated": series("isolated", *times(isolated * factor)),
            "amortised": series("amortised", *times(amortised * factor)),
        }
        return Measurement("card", "GPU-1", "0" * 64, series=both)  # type: ignore[arg-type]

    return Cell(tuple(map(one, range(rounds))))


def peer(isolated: float, amortised: float | None, rounds: int = 3, shift: float = 0.001) -> PeerCell:
    def one(number: int) -> PeerMeasurement:
        factor = 1 + shift * (number - 1)
        found: dict[Mode, Series] = {"isolated": series("isolated", *times(isolated * factor))}
        if amortised is not None:
            found["amortised"] = series("amortised", *times(amortised * factor))
        notes = () if amortised is not None else ("not amortised: its work cannot be captured: it waits",)
        return PeerMeasurement("p", 1.0, None, series=found, notes=notes)

    return PeerCell(tuple(map(one, range(rounds))))


# --- ratios -----------------------------------------------------------------------------------------------------------


def test_a_ratio_of_each_mode_with_its_interval():
    values, missing = speedups(kernel(10e-6, 8e-6), {"torch": peer(15e-6, 10e-6)})
    assert missing == {}
    assert values["speedup[torch]"].value == pytest.approx(1.5)
    assert values["amortised_speedup[torch]"].value == pytest.approx(1.25)
    for value in values.values():
        assert value.low is not None
        assert value.high is not None
        assert value.low < value.value < value.high
        assert value.high - value.low < 0.02 * value.value


def test_processes_that_differ_widen_it():
    def width(shift: float) -> float:
        values, _ = speedups(kernel(10e-6, 8e-6, shift=shift), {"torch": peer(15e-6, 10e-6, shift=shift)})
        value = values["speedup[torch]"]
        assert value.low is not None
        assert value.high is not None
        return value.high - value.low

    assert width(0.03) > 5 * width(0.001)


def test_what_has_no_ratio_says_why():
    absent = PeerCell((PeerMeasurement("p", 1.0, None, absent="the Python package torch is not installed"),))
    values, missing = speedups(kernel(10e-6, 8e-6), {"gone": absent, "waits": peer(15e-6, None)})
    assert set(values) == {"speedup[waits]"}
    assert missing["speedup[gone]"] == "peer gone is absent: the Python package torch is not installed"
    assert "it waits" in missing["amortised_speedup[waits]"]
    values, missing = speedups(None, {"torch": peer(15e-6, 10e-6)})
    assert values == {}
    assert missing["speedup[torch]"] == "the kernel has no isolated time"


def test_a_peer_that_was_wrong_once_has_no_ratio():
    good = peer(15e-6, 10e-6)
    bad = replace(good.rounds[1], series={}, absent="it is wrong, by 3 times its tolerance")
    values, missing = speedups(kernel(10e-6, 8e-6), {"torch": PeerCell((good.rounds[0], bad, good.rounds[2]))})
    assert values == {}
    assert "wrong" in missing["speedup[torch]"]


# --- verdicts ---------------------------------------------------------------------------------------------------------


def verdict(bound: float, metric: str = "speedup", name: str = "torch", **peers: PeerCell) -> Verdict:
    where = Position(Path("x.yaml"))
    target = Target("b", METRICS[metric], "at_least", bound, None, "required", None, None, ("c",), where, name)
    values, missing = speedups(kernel(10e-6, 8e-6), peers)
    evidence = Evidence("c", verified=True, values=values, missing=missing)
    (found,) = judge([target], {"c": evidence}, until="judge", today=date(2026, 1, 1))
    return found.verdict


def test_targets_over_a_peer():
    torch = peer(15e-6, 10e-6)
    assert verdict(1.4, torch=torch) is Verdict.MET
    assert verdict(1.6, torch=torch) is Verdict.MISSED
    assert verdict(1.5, torch=torch) is Verdict.INCONCLUSIVE
    assert verdict(1.2, "amortised_speedup", torch=torch) is Verdict.MET
    assert verdict(1.4, "amortised_speedup", torch=torch) is Verdict.MISSED


def test_another_peers_ratio_does_not_count():
    slow, fast = peer(30e-6, 30e-6), peer(5e-6, 5e-6)
    assert verdict(1.2, name="fast", slow=slow, fast=fast) is Verdict.MISSED
    assert verdict(1.2, name="fast", slow=slow) is Verdict.UNMEASURED


def test_an_absent_peer_passes_nothing():
    absent = PeerCell((PeerMeasurement("p", 1.0, None, absent="not here"),))
    assert verdict(0.1, torch=absent) is Verdict.UNMEASURED


# --- which, and what becomes of them ----------------------------------------------------------------------------------


def test_those_that_targets_name_or_all(tmp_path):
    (tmp_path / "peers.py").write_text(PEERS)
    loaded = SimpleNamespace(peers=tmp_path / "peers.py", identity="a/b")
    names = (None, "gamma", "alpha", "gamma")
    targets = tuple(SimpleNamespace(peer=name, cases=("x", "y")) for name in names)
    targets += (SimpleNamespace(peer="beta", cases=("y",)),)
    benchmark = SimpleNamespace(kernel=loaded, targets=targets)
    assert [one.name for one in peers_of(benchmark, "x")] == ["alpha", "gamma"]  # type: ignore[arg-type]
    assert [one.name for one in peers_of(benchmark, "y")] == ["alpha", "beta", "gamma"]  # type: ignore[arg-type]
    assert [one.name for one in peers_of(benchmark, "x", every=True)] == ["alpha", "beta", "gamma"]  # type: ignore[arg-type]
    assert peers_of(SimpleNamespace(kernel=None, targets=()), "x") == ()  # type: ignore[arg-type]
    assert trusted([loaded]) == [  # type: ignore[list-item]
        "peer alpha of a/b",
        "peer beta of a/b",
        "peer gamma of a/b",
        "reference of a/b",
    ]


def test_whatever_a_peer_does_makes_it_absent_and_nothing_else(tmp_path):
    (tmp_path / "peers.py").write_text(PEERS)
    peers = tuple(declared_peers(tmp_path / "peers.py").values())
    plan = Plan("k", "reference.py", {}, {}, (), (), 1.0, 1.0, 1.0, {})
    task = MeasureTask(plan, "k.cubin", "0" * 64, Example({}), None)
    gone = DeclaredPeer("gone", "first", Position(tmp_path / "peers.py"))
    with Worker("emulator") as worker:
        found = measure_round(worker, task, [*peers, gone])
    assert list(found) == ["alpha", "beta", "gamma", "gone"]
    assert all(one.absent is not None and "measures nothing" in one.absent for one in found.values())


def test_rounds_are_gathered_by_peer():
    one = {"a": PeerMeasurement("a", 1.0, None), "b": PeerMeasurement("b", 1.0, None, absent="no")}
    two = {"a": PeerMeasurement("a", 1.0, None)}
    cells = gather_rounds([one, two])
    assert [len(cells[name].rounds) for name in ("a", "b")] == [2, 1]
    assert cells["b"].absent == "no"


def test_a_run_that_ends_early_says_so_of_every_peer(monkeypatch):
    def busy(*_):
        raise CardBusy("the card is used by process 7")

    monkeypatch.setattr("specforge.check.measurement.taken_card", busy)
    choice = SimpleNamespace(card=SimpleNamespace(uuid="GPU-7"))
    job = Job("case", None, 2, (DeclaredPeer("torch", "first", Position(Path("peers.py"))),))  # type: ignore[arg-type]
    outcome = measure("spec", [job], choice, lambda: Journal(None), None, ahead=None).outcomes["case"]  # type: ignore[arg-type]
    _, missing = speedups(outcome.cell, outcome.peers)
    assert missing["speedup[torch]"].endswith("it was not measured to the end: the card is used by process 7")


def test_a_library_that_ends_their_process_makes_only_them_absent(tmp_path, monkeypatch):
    (tmp_path / "fatal_library.py").write_text("import os\nos._exit(9)\n")
    monkeypatch.syspath_prepend(tmp_path)
    peers = (DeclaredPeer("torch", "first", Position(Path("peers.py"))),)
    job = Job("case", None, 1, peers)  # type: ignore[arg-type]
    card = SimpleNamespace(wait_for_others=lambda *_: None)
    course = _Course([job], None, Journal(None), None)  # type: ignore[arg-type]
    with Worker("emulator", ("fatal_library",)) as guest:
        guest.start()
        found = course._peers(job, guest, card)  # type: ignore[arg-type]
    assert "cannot be used" in str(found["torch"].absent)
    assert "exit status 9" in str(found["torch"].absent)


def test_a_journal_gives_them_back(tmp_path):
    error = OutputError("out", 0.5, (1,), (0,), 1.0, 1.5, 1.0, 0, 1, 0, 4, 0)
    checked = ExampleResult("ok", None, (error,))
    found = {
        "a": replace(peer(15e-6, 10e-6).rounds[0], before=checked, after=checked, versions={"torch": "2.11"}),
        "b": PeerMeasurement("b", 64.0, "rounds", absent="no"),
    }
    path = tmp_path / "j.jsonl"
    open_journal(path, {"spec": "x"}, resume=False).add_peers("case", 0, found)
    again = open_journal(path, {"spec": "x"}, resume=True)
    assert again.peers["case", 0] == found
