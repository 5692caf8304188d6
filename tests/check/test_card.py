from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from specforge import doctor
from specforge.backend import busy
from specforge.backend.clocks import Lock
from specforge.backend.lock import CardBusy, hold_card
from specforge.backend.telemetry import Telemetry
from specforge.check.card import TakenCard, taken_card
from specforge.check.context import Context
from specforge.check.options import Options
from specforge.check.progress import PlainReporter
from specforge.diagnostics import SpecForgeError
from specforge.measure.measurement import Measurement
from specforge.measure.series import Batch, Series
from specforge.measure.stopping import Stop
from specforge.settings import Settings
from tests.nvml import UUID, FakeNvml, install


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    monkeypatch.setattr(busy, "POLL", 0.01)
    made = install(monkeypatch)
    made.answers |= {
        "SetGpuLockedClocks": lambda least, most: made.clocks.update({1: least}),
        "ResetGpuLockedClocks": lambda: made.clocks.update({1: 1980}),
    }
    return made


def context(tmp_path: Path, **options: Any) -> Context:
    settings = Settings(tmp_path / "state", None, None, 1, None, locks=tmp_path / "locks")
    return Context(Options(**options), settings, PlainReporter())


def leave_locked(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir(mode=0o700)
    note = {"asked": "1500", "process": 12, "since": "yesterday"}
    (tmp_path / "locks" / f"{UUID}.clocks").write_text(json.dumps(note))


def measured(*clocks: float) -> Measurement:
    batches = tuple(Batch((1e-5,), Telemetry(sm_clock=clock)) for clock in clocks)
    spoilt = Batch((1e-5,), Telemetry(sm_clock=1e6), discarded="the card was slowed")
    stop = Stop("precision", 0.001, 0.01)
    return Measurement("", "", "", series={"isolated": Series("isolated", 1, (*batches, spoilt), 0, stop)})


def test_an_idle_card_is_taken_as_found(tmp_path: Path, library: FakeNvml) -> None:
    with taken_card(context(tmp_path), UUID) as card:
        card.wait_for_others(context(tmp_path))
        assert (card.lock, card.notes) == (None, ())
        assert (card.clocks_fault(measured(1e9, 2e9)), card.clocks_policy([measured(1e9, 2e9)])) == (None, "as found")
        with pytest.raises(CardBusy, match="specforge check, process"), taken_card(context(tmp_path, wait=0.1), UUID):
            pass


def test_strangers_are_waited_for_once(tmp_path: Path, library: FakeNvml, capsys: pytest.CaptureFixture[str]) -> None:
    library.compute = [(77, None)]
    start = time.monotonic()
    with pytest.raises(CardBusy, match="used by process 77; waited"), taken_card(context(tmp_path, wait=0.3), UUID):
        pass
    assert 0.3 <= time.monotonic() - start < 3
    assert "specforge: waiting: the card is used by process 77" in capsys.readouterr().err
    library.compute = []
    with taken_card(context(tmp_path), UUID) as card:
        library.compute = [(78, None)]
        with pytest.raises(CardBusy, match="process 78"):
            card.wait_for_others(context(tmp_path, wait=0))


def test_a_run_that_waits_says_for_whom(tmp_path: Path, library: FakeNvml, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        hold_card(tmp_path / "locks", UUID, wait=0, purpose="another"),
        pytest.raises(CardBusy, match="held by another, process"),
        taken_card(context(tmp_path, wait=0.3), UUID),
    ):
        pass
    assert capsys.readouterr().err.count("waiting for another, process") == 1


def test_clocks_are_locked_and_what_was_not_on_them_does_not_count(tmp_path: Path, library: FakeNvml) -> None:
    with taken_card(context(tmp_path, lock_clocks="1500"), UUID) as card:
        assert library.clocks[1] == 1500
        assert card.clocks_fault(measured(1500e6, 1500e6)) is None
        assert card.clocks_policy([measured(1500e6)]) == "locked to 1500 MHz (verified)"
        assert "read 1320 MHz under load" in (card.clocks_fault(measured(1500e6, 1320e6)) or "")
        assert card.clocks_fault(Measurement("", "", "", refusal="not timed")) is None
    assert library.clocks[1] == 1980


def test_nothing_measured_is_not_verified() -> None:
    assert TakenCard(UUID, Lock(1500e6), ()).clocks_policy([]).startswith("not held")


def test_what_a_killed_run_left_is_undone_first(tmp_path: Path, library: FakeNvml) -> None:
    leave_locked(tmp_path)
    with taken_card(context(tmp_path), UUID) as card:
        assert card.notes == ("clocks were locked (1500) by process 12 since yesterday; they were restored",)
    assert ("nvmlDeviceResetGpuLockedClocks",) in library.called


def test_nothing_is_measured_as_found_on_clocks_that_were_not(tmp_path: Path, library: FakeNvml) -> None:
    leave_locked(tmp_path)
    library.answers["ResetGpuLockedClocks"] = library.refuse("Insufficient Permissions")
    with pytest.raises(SpecForgeError, match=r"SF704.*cannot be restored"), taken_card(context(tmp_path), UUID):
        pass


def cards(library: FakeNvml) -> None:
    """Answer `probe` as well."""
    vars(library).update(
        {
            "nvmlSystemGetDriverVersion": lambda: "580.1",
            "nvmlSystemGetCudaDriverVersion_v2": lambda: 13000,
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
        }
    )
    library.answers |= {
        "GetCudaComputeCapability": lambda: (9, 0),
        "GetName": "NVIDIA Test",
        "GetUUID": UUID,
        "GetPersistenceMode": 1,
    }


def found(settings: Settings) -> dict[str, tuple[bool | None, str]]:
    return {seen.subject: (seen.works, seen.detail) for seen in doctor.examine(settings)}


def test_the_doctor_looks_at_the_card(tmp_path: Path, library: FakeNvml) -> None:
    cards(library)
    settings = context(tmp_path).settings
    works, detail = found(settings)["GPU 0 now"]
    assert (works, detail) == (True, "not slowed; 120 W; 38 degrees; persistence mode on")
    library.reasons, library.compute = 0x40, [(77, 5)]
    works, detail = found(settings)["GPU 0 now"]
    assert works is None
    assert detail.startswith("slowed by hw_thermal; used by processes 77; ")
    assert "locking is" in found(settings)["GPU 0 clocks"][1]


def test_the_doctor_restores_clocks(tmp_path: Path, library: FakeNvml) -> None:
    cards(library)
    leave_locked(tmp_path)
    settings = context(tmp_path).settings
    assert "specforge doctor --restore-clocks" in found(settings)["GPU 0 clocks"][1]
    with hold_card(settings.locks, UUID, wait=0, purpose="a run"):
        (busy_card,) = doctor.restore_clocks(settings)
        assert (busy_card.works, "held by a run" in busy_card.detail) == (False, True)
    assert [seen.works for seen in doctor.restore_clocks(settings)] == [True]
    assert doctor.restore_clocks(settings)[0].detail == "no run left them locked"
    settings.locks.chmod(0o777)
    assert [(seen.works, "SF703" in seen.detail) for seen in doctor.restore_clocks(settings)] == [(False, True)]
    assert found(settings)["GPU 0 clocks"][0] is False


@pytest.mark.parametrize("options", [["--lock-clocks=fast"], ["--wait", "nan"], ["--wait", "-1"]])
def test_bad_options(options: list[str]) -> None:
    from specforge.cli import main

    done = CliRunner().invoke(main, ["check", "specs/qwen35_h100.yaml", "--until", "validate", *options])
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_the_doctor_without_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert doctor.restore_clocks(context(tmp_path).settings) == []
