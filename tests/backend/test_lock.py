from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from specforge.backend.lock import CardBusy, hold_card

HOLDER = """
import sys, time
from pathlib import Path
from specforge.backend.lock import hold_card
with hold_card(Path(sys.argv[1]), "GPU-1", wait=5, purpose="specforge check a.yaml"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(state: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(state), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    with holder(tmp_path, 30) as other:
        start = time.monotonic()
        with (
            pytest.raises(CardBusy, match=f"specforge check a.yaml, process {other.pid}, since"),
            hold_card(tmp_path, "GPU-1", wait=0.3),
        ):
            pass
        assert 0.3 <= time.monotonic() - start < 3
        with hold_card(tmp_path, "GPU-2", wait=0):
            pass
        other.kill()  # the end of a holder, however it comes, releases the card
        with hold_card(tmp_path, "GPU-1", wait=5):
            pass


def test_waiting_is_rewarded(tmp_path: Path) -> None:
    with holder(tmp_path, 0.4), hold_card(tmp_path, "GPU-1", wait=10):
        pass


def test_released_after_an_error_and_reusable(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), hold_card(tmp_path, "GPU-1", wait=0):
        raise RuntimeError
    with hold_card(tmp_path, "GPU-1", wait=0):
        (file,) = (tmp_path / "locks").iterdir()
        assert f"process {os.getpid()}" in file.read_text()
        with pytest.raises(CardBusy), hold_card(tmp_path, "GPU-1", wait=0):
            pass
    assert file.read_text() == ""


def test_a_strange_uuid_stays_inside_the_folder(tmp_path: Path) -> None:
    with hold_card(tmp_path, "../../x", wait=0):
        assert [path.parent for path in tmp_path.rglob("*.lock")] == [tmp_path / "locks"]
