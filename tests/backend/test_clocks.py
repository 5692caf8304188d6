"""Locking clocks against a stand-in for the driver; no test ever touches a card's clocks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from specforge.backend.clocks import Lock, left_over, locked_clocks, may_lock, parse_clock, restore_left_over
from specforge.backend.telemetry import CardWatch, Telemetry
from specforge.diagnostics import SpecForgeError
from tests.nvml import UUID, FakeNvml, install

SET, RESET = "nvmlDeviceSetGpuLockedClocks", "nvmlDeviceResetGpuLockedClocks"


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    made = install(monkeypatch)
    permit(made)
    return made


def permit(library: FakeNvml) -> None:
    def lock(least: int, most: int) -> None:
        library.clocks[1] = 1410 if least > 0xFFFFFF00 else least

    def reset() -> None:
        library.clocks[1] = 1980

    library.answers |= {
        "SetGpuLockedClocks": lock,
        "ResetGpuLockedClocks": reset,
        "GetSupportedMemoryClocks": [2619, 1593],
        "GetSupportedGraphicsClocks": lambda memory: [1980, 1965, 1500, 1485, 345] if memory == 2619 else [],
    }


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def changes(library: FakeNvml) -> list[tuple[object, ...]]:
    return [call for call in library.called if call[0] in (SET, RESET)]


def test_nothing_is_touched_unasked(library: FakeNvml, locks: Path) -> None:
    with locked_clocks(locks, UUID, None) as lock:
        assert lock is None
    assert (library.called, locks.exists()) == ([], False)


def test_locked_read_back_and_restored(library: FakeNvml, locks: Path) -> None:
    with locked_clocks(locks, UUID, "1500") as lock, CardWatch(UUID) as watch:
        assert lock is not None
        assert lock.fault([watch.read()] * 3) is None
        assert lock.policy([watch.read()] * 3) == "locked to 1500 MHz (verified)"
        assert "clocks were locked (1500) by process" in (left_over(locks, UUID) or "")
    assert changes(library) == [(SET, 1500, 1500), (RESET,)]
    assert (library.clocks[1], left_over(locks, UUID), library.open) == (1980, None, 0)


def test_base_is_the_clock_that_the_card_holds_at_its_power_limit(library: FakeNvml, locks: Path) -> None:
    with locked_clocks(locks, UUID, "base") as lock, CardWatch(UUID) as watch:
        assert lock is not None
        assert lock.policy([watch.read()]) == "locked to 1410 MHz (verified)"
    assert changes(library) == [(SET, 0xFFFFFF01, 0xFFFFFF01), (RESET,)]


def test_a_lock_that_is_not_held_is_said() -> None:
    lock = Lock(1500e6)
    assert lock.fault([Telemetry(sm_clock=1500e6), Telemetry(sm_clock=1200e6)]) == (
        "the SM clock was locked to 1500 MHz and read 1200 MHz under load"
    )
    assert lock.fault([]) == "the SM clock was locked, but the card does not tell it"
    assert lock.policy([Telemetry()]).startswith("not held: ")
    assert Lock(None).fault([Telemetry(sm_clock=clock) for clock in (1410e6, 1410e6, 1980e6)]) is not None
    assert Lock(None).fault([Telemetry(sm_clock=clock) for clock in (1410e6, 1410e6, 1395e6)]) is None


def test_restored_after_an_error_ctrl_c_and_exit(library: FakeNvml, locks: Path) -> None:
    for kind in (RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(kind), locked_clocks(locks, UUID, "1500"):
            raise kind
        assert (library.clocks[1], left_over(locks, UUID)) == (1980, None)


def test_what_is_not_permitted_is_an_error_with_the_way_out(library: FakeNvml, locks: Path) -> None:
    library.answers["SetGpuLockedClocks"] = library.refuse("Insufficient Permissions")
    with (
        pytest.raises(SpecForgeError, match=r"SF704: the driver refuses .*Insufficient Permissions") as error,
        locked_clocks(locks, UUID, "1500"),
    ):
        pass
    assert "without --lock-clocks" in str(error.value)
    assert changes(library) == [(SET, 1500, 1500)]  # nothing was changed, so nothing is reset
    assert left_over(locks, UUID) is None


def test_a_clock_that_the_card_does_not_have(library: FakeNvml, locks: Path) -> None:
    with pytest.raises(SpecForgeError, match=r"SF704.*1490 MHz") as error, locked_clocks(locks, UUID, "1490"):
        pass
    assert "near it are 1485, 1500" in str(error.value)
    assert changes(library) == []


def test_no_library_and_no_card(locks: Path, monkeypatch: pytest.MonkeyPatch, library: FakeNvml) -> None:
    with pytest.raises(SpecForgeError, match="SF704"), locked_clocks(locks, "GPU-2", "1500"):
        pass
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(SpecForgeError, match=r"SF704.*nvidia-ml-py"), locked_clocks(locks, UUID, "1500"):
        pass


def test_a_reset_that_fails_is_no_secret(library: FakeNvml, locks: Path) -> None:
    library.answers["ResetGpuLockedClocks"] = library.refuse("GPU is lost")
    with pytest.raises(SpecForgeError, match=r"SF704.*stay locked"), locked_clocks(locks, UUID, "1500"):
        pass
    assert left_over(locks, UUID) is not None
    with pytest.raises(SpecForgeError, match=r"SF704.*GPU is lost") as error:
        restore_left_over(locks, UUID)
    assert "nvidia-smi -rgc" in str(error.value)
    permit(library)
    assert "they were restored" in (restore_left_over(locks, UUID) or "")
    assert restore_left_over(locks, UUID) is None
    assert library.clocks[1] == 1980


def test_a_note_that_was_cut_short_counts(library: FakeNvml, locks: Path) -> None:
    locks.mkdir(mode=0o700)
    (locks / f"{UUID}.clocks").write_text('{"asked": "15')
    assert left_over(locks, UUID) == "clocks were locked by a run that was cut short"
    assert restore_left_over(locks, UUID) is not None
    assert changes(library) == [(RESET,)]


CHILD = """
import json, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.backend.test_clocks import permit
from tests.nvml import UUID, FakeNvml
library = FakeNvml()
permit(library)
sys.modules["pynvml"] = library
log = Path(sys.argv[2])
library.answers["ResetGpuLockedClocks"] = lambda: log.write_text("reset")
from specforge.backend.clocks import locked_clocks
def hold():
    with locked_clocks(Path(sys.argv[1]), UUID, "1500"):
        print("locked", flush=True)
        time.sleep(30 if sys.argv[4] != "leaves" else 0.1)
        if sys.argv[4] == "leaves":
            sys.exit(3)
if sys.argv[4] == "forgets":
    held = locked_clocks(Path(sys.argv[1]), UUID, "1500")
    held.__enter__()
    print("locked", flush=True)
    import gc; gc.disable()
    sys.exit(0)
hold()
"""
ROOT = str(Path(__file__).resolve().parents[2])


def child(locks: Path, log: Path, how: str, *, nohup: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(locks), str(log), ROOT, how]
    heard = signal.SIG_IGN if nohup else signal.SIG_DFL  # these tests may run under nohup themselves
    prepare = lambda: signal.signal(signal.SIGHUP, heard)  # noqa: E731
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=prepare)  # noqa: PLW1509
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_restores_the_clocks(locks: Path, tmp_path: Path, number: signal.Signals) -> None:
    with child(locks, tmp_path / "log", "stays") as process:
        process.send_signal(number)
        assert process.wait(20) in (128 + number, 1, -number)
    assert (tmp_path / "log").read_text() == "reset"
    assert left_over(locks, UUID) is None


@pytest.mark.parametrize("how", ["leaves", "forgets"])
def test_the_end_of_the_interpreter_restores_the_clocks(locks: Path, tmp_path: Path, how: str) -> None:
    with child(locks, tmp_path / "log", how) as process:
        process.wait(20)
    assert (tmp_path / "log").read_text() == "reset"


def test_a_killed_run_is_undone_by_the_next(locks: Path, tmp_path: Path, library: FakeNvml) -> None:
    with child(locks, tmp_path / "log", "stays") as process:
        process.kill()
        process.wait(20)
    assert not (tmp_path / "log").exists()
    assert json.loads((locks / f"{UUID}.clocks").read_text())["process"] == process.pid
    assert f"process {process.pid}" in (restore_left_over(locks, UUID) or "")
    assert changes(library) == [(RESET,)]
    assert left_over(locks, UUID) is None


def test_a_run_under_nohup_survives_a_hang_up(locks: Path, tmp_path: Path) -> None:
    with child(locks, tmp_path / "log", "stays", nohup=True) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.terminate()
        process.wait(20)
    assert (tmp_path / "log").read_text() == "reset"


def test_in_another_thread_there_are_no_signals_to_heed(library: FakeNvml, locks: Path) -> None:
    seen: list[object] = []

    def hold() -> None:
        with locked_clocks(locks, UUID, "1500") as lock:
            seen.append(lock)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join(10)
    assert seen == [Lock(1500e6)]
    assert library.clocks[1] == 1980


def test_handlers_are_put_back(library: FakeNvml, locks: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with locked_clocks(locks, UUID, "1500"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("text", ["1500", "base"])
def test_what_may_be_asked_for(text: str) -> None:
    assert parse_clock(text) == text


@pytest.mark.parametrize("text", ["", "fast", "-1", "99", "1500.5", "1_500", "²", "99999"])
def test_what_may_not_be_asked_for(text: str) -> None:
    with pytest.raises(SpecForgeError, match="SF801"):
        parse_clock(text)


def test_permission_is_told_without_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert may_lock().startswith("not possible")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert may_lock().startswith("may be possible")
