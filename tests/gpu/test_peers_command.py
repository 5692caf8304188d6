"""Peers in a whole command on the card."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
SPEC = f"""
specforge: 1
spec: two
device: {ROOT}/specs/devices/h100_sxm.yaml
timing: {{processes: 1, seconds: 1 s, modes: amortised}}
benchmarks:
  router:
    kernel: moe/router_topk
    bind: {{experts: 256, top_k: 8, renormalise: true, dtype: f32}}
    matrix: {{tokens: [1, 8]}}
    targets:
      - {{metric: amortised_speedup, at_least: 1, peer: torch_topk, level: record}}
"""


def test_every_case_has_its_ratio(tmp_path: Path) -> None:
    """The peers' process is no stranger that the next case waits for."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "two.yaml").write_text(SPEC)
    command = [sys.executable, "-m", "specforge", "check", "specs/two.yaml", "--examples", "20", "--record", "r.json"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "r.json").read_text())
    assert ["amortised_speedup[torch_topk]" in case["metrics"] for case in record["cases"]] == [True, True]
