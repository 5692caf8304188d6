"""On a card: tuning a copy of memory finds what is faster, `check` uses it, and a wrong configuration never wins."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from specforge.backend.probe import probe
from specforge.check.backends import match_device
from specforge.roots import shipped
from specforge.spec.document import load_document

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
DOMAINS = {"[64, 128, 256, 512]": "[128]", "[2, 4, 8]": "[4, 8]", '"1..65536"': "[16, {usual}, 16384]"}
LIMIT = 45.0
"""Seconds of one command."""
SPEC = """\
specforge: 1
spec: small
device: devices/DEVICE.yaml
timing: {seconds: "0.5 s", processes: 2}
benchmarks:
  copying:
    kernel: calibration/copy
    bind: {words: 4194304}
    targets:
      - {metric: amortised_bandwidth, at_least: 1 GB/s}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the shipped copy, limited to six configurations, two of them on few multiprocessors."""
    device = match_device(probe().cards[0], (shipped(),))
    if device is None:
        pytest.skip("no device file knows this card, and a tuning belongs to a device")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "small.yaml").write_text(SPEC.replace("DEVICE", device.file.device))
    (tmp_path / "specs" / "devices").symlink_to(ROOT / "specs" / "devices")
    shutil.copytree(ROOT / "kernels" / "calibration", tmp_path / "kernels" / "calibration")
    shutil.copytree(ROOT / "kernels" / "include", tmp_path / "kernels" / "include")
    file = tmp_path / "kernels" / "calibration" / "copy" / "kernel.yaml"
    text = file.read_text()
    usual = 16 * int(device.names["device.multiprocessors"])
    for old, new in DOMAINS.items():
        assert text.count(old) == 1
        text = text.replace(old, new.format(usual=usual))
    file.write_text(text.replace("clamp(ceil_div(words, 4096), 1, 16 * device.multiprocessors)", str(usual)))
    return tmp_path


def run(home: Path, *arguments: str) -> tuple[int, str]:
    env = os.environ | {
        "SPECFORGE_STATE": str(home / ".specforge"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    }
    begin = time.monotonic()
    command = [sys.executable, "-m", "specforge", *arguments]
    print(f"\n$ specforge {' '.join(arguments)}", flush=True)
    process = subprocess.Popen(command, cwd=home, env=env, stdout=subprocess.PIPE, text=True)  # progress: as it comes
    ended = threading.Timer(LIMIT, process.kill)
    ended.start()
    text, _ = process.communicate()
    ended.cancel()
    print(f"status {process.returncode} after {time.monotonic() - begin:.1f} s\n{text[-6000:]}", flush=True)
    return process.returncode, text


def cases(home: Path) -> list[dict[str, Any]]:
    (file,) = (home / "tunings").glob("*/calibration__copy.yaml")
    print(file.read_text())
    return load_document(file).data["cases"]  # type: ignore[no-any-return]


def test_a_copy_is_tuned_and_check_uses_it(home: Path) -> None:
    status, text = run(home, "tune", "specs/small.yaml")
    assert status == 0
    (case,) = cases(home)
    assert "6 configurations timed, all" in text
    assert case["tunables"]["blocks"] != 16, "most multiprocessors have nothing to do"
    status, _ = run(home, "check", "specs/small.yaml", "--examples", "5", "--processes", "1", "--record", "record.json")
    record = json.loads((home / "record.json").read_text())
    (checked,) = record["cases"]
    assert status == 0
    assert checked["tunables"] == case["tunables"]
    assert checked["verified"]
    assert "tuning" in [one["role"] for one in record["inputs"]]


def test_a_wrong_configuration_never_wins(home: Path) -> None:
    template = home / "kernels" / "calibration" / "copy" / "kernel.cu.j2"
    text, loop = template.read_text(), "i < UNROLL; ++i) store"
    assert text.count(loop) == 1
    template.write_text(text.replace(loop, "i < UNROLL - (UNROLL == 8); ++i) store"))
    status, text = run(home, "tune", "specs/small.yaml", "--processes", "1")
    assert status == 3
    assert "WRONG threads=128, unroll=8" in text
    assert cases(home)[0]["tunables"]["unroll"] != 8
