"""The emulator's benchmark: its help, its table, and one real measurement of a small kind."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "emulator.py"
FOUND = {
    "steps_per_cpu_second": 2e8,
    "seconds_per_100_examples": 12.5,
    "cpu_seconds_per_100_examples": 10.0,
    "peak_bytes": 100 * 2**20,
    "compile_seconds": 20.0,
    "variants": 6,
    "share": {"emulation": 0.5, "reference": 0.25},
}
SAMPLE = {
    "created": "2026-01-02T03:04:05+00:00",
    "commit": "0123456789abcdef",
    "dirty": False,
    "machine": {"cpu": "A CPU", "cores": 2, "compiler": "g++ 13", "python": "3.12.0", "load_before": 0.1},
    "kernels": {"moe/router_topk": {"off": FOUND, "shadow": FOUND | {"steps_per_cpu_second": 1e8}}},
    "check": {"shadow": {"cold_seconds": 100.4, "warm_seconds": 40.0, "peak_bytes": 300 * 2**20}},
    "all": {"seconds": 283.6, "status": 0, "specs": 15},
}


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("emulator_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_help_says_what_it_measures():
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, timeout=120, check=True)
    assert "thread-steps a second" in done.stdout
    assert "--skip-check" in done.stdout


def test_the_table_compares_with_the_plain_build(benchmark):
    text = benchmark.table(SAMPLE)
    assert "| moe/router_topk | off | 200 M | 12.5 | 10.0 | 100 | 20, 6 |" in text
    assert "| moe/router_topk | shadow | 100 M (2.0x slower) | 12.5 | 10.0 | 100 | 20, 6 |" in text
    assert "| moe/router_topk | off | 50% | 25% |" in text
    assert "| shadow | 100 | 40 | 300 |" in text
    assert "15 specs, empty state folder: 284 s, exit status 0; the aim is 480." in text


def test_the_page_is_made_from_the_committed_result(benchmark):
    assert benchmark.TABLE.read_text() == benchmark.table(json.loads(benchmark.RESULT.read_text()))


def test_the_case_has_about_the_steps_it_should(benchmark):
    from specforge.spec.interface import find_kernel
    from specforge.verify.covering import cover
    from specforge.verify.example import plan_example

    for name in ("moe/router_topk", "attention/flash_decode"):
        kernel = find_kernel(name, (ROOT,))
        example = benchmark.large_case(kernel, cover(kernel, [], 0)[0])
        steps = plan_example(kernel, example, benchmark.DEVICE).steps
        assert benchmark.CASE_STEPS / 20 < steps <= benchmark.CASE_STEPS
