"""The journal of a run: every line survives a kill, a torn end is dropped, a changed line is refused."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specforge.backend.energy import Energy
from specforge.backend.runner import KernelFault
from specforge.backend.telemetry import Telemetry
from specforge.check.journal import Journal, journal_path, open_journal
from specforge.diagnostics import SpecForgeError
from specforge.measure.calibration import Calibration, Reached
from specforge.measure.floors import Floors
from specforge.measure.measurement import Measurement
from specforge.measure.peer import PeerMeasurement
from specforge.measure.series import Batch, Series
from specforge.measure.session import Session
from specforge.measure.stopping import Stop
from specforge.verify.compare import OutputError
from specforge.verify.example import ExampleResult

KEY = {"the card": "GPU-1", "--seed": 0, "the timing": {"b": {"precision": 0.01, "modes": ("isolated",)}}}
READING = Telemetry(sm_clock=1.98e9, throttled=("sw_power_cap",), missing={"energy": "not here"})
SERIES = Series(
    "isolated", 1, (Batch((1.1e-5, 1.2345678901e-5), READING, "hot"),), 9, Stop("seconds", None, 0.01), ("n",)
)
ERROR = OutputError("out", math.inf, (1, 2), (1,), math.nan, 0.5, 0.1, 1, 2, 3, 4, 5, "out[1, 2]", ("row",))
ONE = Measurement(
    "cuda:0 Test",
    "GPU-1",
    "ab" * 32,
    series={"isolated": SERIES},
    launches={"first": SERIES, "first#2": SERIES},
    cold="proven",
    copies={"x": 4},
    before=ExampleResult("wrong", "out[1, 2] is nan", (ERROR,)),
    energy=Energy(1.5e-3, 100, 1.0, 7, 0.01, 60.0),
    telemetry=READING,
    notes=("a note",),
    seconds=1.25,
)
SESSION = Session(
    Floors(4e-7, {"isolated": 2e-6}),
    Calibration(
        2e12, None, {"bf16": 8e14}, {"copy": "wrong"}, (Reached("read", {"words": 4}, "ab", 1.0, 2.0, 1.0, 3.0),)
    ),
    {"floors": "no"},
)
PEER = PeerMeasurement("torch", 2.0, "half", {"torch": "2"}, {"amortised": SERIES}, absent="it is wrong")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journals" / "small.jsonl"


def filled(path: Path) -> Journal:
    journal = open_journal(path, KEY, resume=False)
    journal.add_session(SESSION)
    journal.add_round("a", 0, ONE)
    journal.add_round("b", 0, KernelFault("hang", "no answer within 9 s"))
    journal.add_peers("a", 0, {"torch": PEER})
    return journal


def same(one: Measurement, other: Measurement) -> bool:
    return repr(one) == repr(other)  # NaN is unlike itself


def test_everything_comes_back_as_it_was(path: Path) -> None:
    filled(path)
    again = open_journal(path, KEY, resume=True)
    assert again.session == SESSION
    found, fault = again.rounds["a", 0], again.rounds["b", 0]
    assert isinstance(found, Measurement)
    assert same(found, ONE)
    assert isinstance(fault, KernelFault)
    assert (fault.kind, fault.message) == ("hang", "no answer within 9 s")
    assert again.peers == {("a", 0): {"torch": PEER}}
    assert again.notices == ["resuming: 2 measurements are kept"]
    assert len(again.resumed) == 1
    again.add_round("a", 1, ONE)
    third = open_journal(path, KEY, resume=True)
    assert set(third.rounds) == {("a", 0), ("b", 0), ("a", 1)}
    assert len(third.resumed) == 2


@pytest.mark.parametrize("tear", [1, 40, 400])
def test_a_torn_end_is_dropped_and_said(path: Path, tear: int) -> None:
    filled(path)
    content = path.read_bytes()
    path.write_bytes(content[:-tear])
    again = open_journal(path, KEY, resume=True)
    assert again.notices[0] == "the journal's last line was torn by the kill and is dropped"
    assert again.peers == {}
    again.add_peers("a", 0, {"torch": PEER})
    assert open_journal(path, KEY, resume=True).peers == {("a", 0): {"torch": PEER}}


def test_cut_anywhere_it_is_whole_or_shorter(path: Path) -> None:
    filled(path)
    content = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for cut in sorted({0, 1, *ends, *(end - 1 for end in ends), *range(0, len(content), 211)}):
        path.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        again = open_journal(path, KEY, resume=True)
        kept = (again.session is not None) + len(again.rounds) + len(again.peers)
        assert kept == max(0, whole - 1), cut
        assert again.resumed == [] or whole


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_was_the_torn_end(
    tmp_path_factory: pytest.TempPathFactory, place: float, byte: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "small.jsonl"
    filled(path)
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    if content[at] == byte:
        return
    last = bytes(content).rstrip(b"\n").rfind(b"\n")
    content[at] = byte
    path.write_bytes(content)
    found = None
    with contextlib.suppress(SpecForgeError):
        found = open_journal(path, KEY, resume=True)
    if found is not None:
        assert at > last
        assert found.peers in ({}, {("a", 0): {"torch": PEER}})


@pytest.mark.parametrize("change", ["edit", "drop", "swap", "twice"])
def test_lines_hang_together(path: Path, change: str) -> None:
    filled(path)
    lines = path.read_text().splitlines(keepends=True)
    if change == "edit":
        lines[2] = lines[2].replace("1.1e-05", "1.0e-05")
    elif change == "drop":
        del lines[2]
    elif change == "swap":
        lines[2], lines[3] = lines[3], lines[2]
    else:
        lines.insert(3, lines[2])
    path.write_text("".join(lines))
    with pytest.raises(SpecForgeError, match="the journal was changed") as error:
        open_journal(path, KEY, resume=True)
    position = error.value.diagnostics[0].position
    assert position is not None
    assert (position.file, position.line) == (path, 4 if change == "twice" else 3)


def test_a_journal_of_something_else_is_refused_by_name(path: Path) -> None:
    filled(path)
    other = {**KEY, "--seed": 1, "the driver": "580"}
    with pytest.raises(SpecForgeError, match=r"it differs in --seed, the driver") as error:
        open_journal(path, other, resume=True)
    assert error.value.diagnostics[0].code == "SF607"


def test_without_resume_it_is_set_aside(path: Path) -> None:
    filled(path)
    content = path.read_bytes()
    again = open_journal(path, KEY, resume=False)
    assert (again.session, again.rounds) == (None, {})
    assert "set aside" in again.notices[0]
    assert path.with_suffix(".aside.jsonl").read_bytes() == content


def test_nothing_to_resume(path: Path) -> None:
    again = open_journal(path, KEY, resume=True)
    assert again.notices == ["there is no unfinished run to resume; this one starts anew"]
    assert (again.rounds, again.resumed) == ({}, [])


def test_in_memory_nothing_is_written(tmp_path: Path) -> None:
    journal = Journal(None)
    journal.add_round("a", 0, ONE)
    assert journal.rounds["a", 0] is ONE
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "journals").write_text("")
    with pytest.raises(SpecForgeError, match="cannot write the journal") as error:
        open_journal(tmp_path / "journals" / "x.jsonl", KEY, resume=False)
    assert error.value.diagnostics[0].code == "SF605"


def test_names_of_cards_are_names_of_files(tmp_path: Path) -> None:
    assert journal_path(tmp_path, "spec", "MIG-1/2").name == "spec-MIG-1_2.jsonl"


def test_a_line_is_json(path: Path) -> None:
    filled(path)
    for line in path.read_text().splitlines():
        assert set(json.loads(line)) == {"what", "digest"}
