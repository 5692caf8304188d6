from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from specforge.backend.lock import CardBusy, card_file, hold_card
from specforge.diagnostics import SpecForgeError
from specforge.settings import read_settings

HOLDER = """
import sys, time
from specforge.backend.lock import hold_card
from specforge.settings import read_settings
with hold_card(read_settings().locks, "GPU-1", wait=5, purpose="specforge check a.yaml"):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def holder(locks: Path, seconds: float) -> subprocess.Popen[str]:
    """Another process, in a folder and with a state folder of its own."""
    here = locks.parent / f"checkout{time.monotonic_ns()}"
    here.mkdir()
    env = {**os.environ, "SPECFORGE_LOCKS": str(locks), "SPECFORGE_STATE": str(here / "state")}
    command = [sys.executable, "-c", HOLDER, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=here, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def test_a_second_run_is_refused_and_told_by_whom(locks: Path) -> None:
    with holder(locks, 30) as other:
        start = time.monotonic()
        with (
            pytest.raises(CardBusy, match=f"specforge check a.yaml, process {other.pid}, since"),
            hold_card(locks, "GPU-1", wait=0.3),
        ):
            pass
        assert 0.3 <= time.monotonic() - start < 3
        with hold_card(locks, "GPU-2", wait=0):
            pass
        other.kill()  # the end of a holder, however it comes, releases the card
        with hold_card(locks, "GPU-1", wait=5):
            pass


def test_waiting_is_told_and_rewarded(locks: Path) -> None:
    told: list[str] = []
    with holder(locks, 0.4) as other, hold_card(locks, "GPU-1", wait=10, tell=told.append):
        pass
    assert [line.partition(", since")[0] for line in told] == [
        f"waiting for specforge check a.yaml, process {other.pid}"
    ]


def test_released_after_an_error_and_reusable(locks: Path) -> None:
    with pytest.raises(RuntimeError), hold_card(locks, "GPU-1", wait=0):
        raise RuntimeError
    with hold_card(locks, "GPU-1", wait=0):
        (file,) = locks.iterdir()
        assert f"process {os.getpid()}" in file.read_text()
        assert (locks.stat().st_mode & 0o777, file.stat().st_mode & 0o077) == (0o700, 0)
        with pytest.raises(CardBusy), hold_card(locks, "GPU-1", wait=0):
            pass
    assert file.read_text() == ""


def test_a_strange_uuid_stays_inside_the_folder(locks: Path) -> None:
    assert card_file(locks, "../../x", "lock").parent == locks


def test_all_runs_of_a_user_meet_wherever_they_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPECFORGE_LOCKS", raising=False)
    before = read_settings().locks
    for name in ("SPECFORGE_STATE", "TMPDIR", "XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.setenv(name, "/elsewhere")
    assert read_settings().locks == before == Path(f"/tmp/specforge-{os.geteuid()}")
    monkeypatch.setenv("SPECFORGE_LOCKS", "/var/lock/mine")
    assert read_settings().locks == Path("/var/lock/mine")


@pytest.mark.parametrize("fault", ["open to others", "a link", "a file", "somebody else's", "cannot be made"])
def test_a_folder_that_is_not_ones_own_is_refused(locks: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """It stands in a public place under a name that anybody can guess."""
    match fault:
        case "open to others":
            locks.mkdir()
            locks.chmod(0o777)
        case "a link":
            locks.symlink_to(locks.parent)
        case "a file":
            locks.write_text("")
        case "somebody else's":
            locks.mkdir(mode=0o700)
            monkeypatch.setattr(os, "geteuid", lambda: 4321)
        case _:
            locks = Path("/proc/none/locks")
    with pytest.raises(SpecForgeError, match="SF703") as error, hold_card(locks, "GPU-1", wait=0):
        pass
    assert "SPECFORGE_LOCKS" in str(error.value)
