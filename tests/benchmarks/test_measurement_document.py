"""docs/measurement.md and the commands that fill it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measurement import document
from benchmarks.measurement.subject import HERE
from specforge.spec.load import load_spec

ROOT = Path(__file__).parents[2]
ORIGIN = {
    "created": "2026-01-02T03:04:05+00:00",
    "commit": "0123456789abcdef",
    "dirty": False,
    "packages": {"cuda-bench": "0.3.0"},
    "card": {"name": "A card", "driver": "580"},
}
POWER = {
    "records": ["0" * 64], "slower": 0.02, "processes": 3,
    "cells": [{"name": "x isolated", "spread": 0.002, "recorded": False, "found": 99, "trials": 100, "alarms": 1,
               "like_trials": 200}],
}  # fmt: skip
CELL = {"verdicts": {"latency": "met"}, "rounds": 2, "said": None}
RESULTS = {
    "agreement": {
        "failures": {},
        "compared": {
            "read 1 MiB": {
                "isolated": {
                    "consensus": 5e-6,
                    "allowed": 5e-7,
                    "tools": {
                        "SpecForge isolated": {"seconds": 5e-6, "off": 0.0, "within": True, "explanation": None},
                        "nvbench cold": {"seconds": 6e-6, "off": 1e-6, "within": False, "explanation": "dirty lines"},
                    },
                }
            }
        },
    },
    "repeatability": {
        "processes": 5, "most": 0.005, "from_seconds": 2e-5, "failures": ["nvbench, process 3: no"],
        "subjects": {
            "read 64 MiB": {"median": 25e-6, "variation": {"SpecForge isolated": 0.001, "nvbench cold": 0.002},
                            "met": True},
            "spin 50 us": {"median": 53e-6, "variation": {"SpecForge isolated": 0.006},
                           "met": False},
        },
    },
    "truth": {
        "timer_nanoseconds": {"least": 32, "median": 32, "most": 64}, "failures": [],
        "spin": {"waits": {"spin 10 us": {"isolated": {"known": 1e-5, "reported": 1.02e-5, "off": 2e-7,
                                                       "within": True}}}},
        "copy": {"copy 16 MiB": {"known": 1e-5, "reported": 2e-5, "off": 1e-5, "within": False}},
        "slow_down": {"planted": 0.02, "ratio_of_medians": 1.019, "variation": {"A": 0.001, "B": 0.001}, "trials": 20,
                      "processes_of_a_side": 5, "slower": {"slower": 20}, "same": {"same": 19, "undecided": 1},
                      "samples": {"A": [[1.0]] * 16, "B": [[1.0]] * 9}},
    },
    "cost": {
        "tunables": {"threads": [64, 128], "tile_count": [1]}, "bytes": 1 << 26,
        "failures": {"Kernel Tuner": "not there"},
        "tools": {"SpecForge": {"wall": 3.0, "startup": 1.0, "checking": 1.5, "sampling": 0.4, "to_precision": 0.4,
                                "whole": 1.9, "median_cell_to_precision": 0.2,
                                "worst_precision": 0.009, "busy_by_samples": 0.05,
                                "busy_by_nvml": None}},
    },
    "resilience": {
        "resume": {"undisturbed_seconds": 30.0, "killed": 1, "last_seconds": 5.0, "journaled_sample_sets": 8,
                   "kills": [{"seconds": 2.5}], "cells": {"read[tiles=1]": CELL}, "faults": []},
        "hostile": {"status": 3, "seconds": 40.0, "faults": ["read paid"],
                    "cells": {"hang": {"verdicts": {"latency": "error"}, "rounds": 0, "said": "hang | no answer"}}},
    },
}  # fmt: skip


@pytest.fixture
def results(tmp_path):
    for name, result in RESULTS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(ORIGIN | result))
    (tmp_path / "power.json").write_text(json.dumps(POWER))
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "| x isolated | 0.20% (assumed) | 99/100 | 1/200 |",
        "| all | | 99/100 | 1/200 |",
        "| read 1 MiB | isolated | 5.00 | SpecForge isolated +0.00, nvbench cold +1.00 [1] |",
        "1 of 2 comparisons are within the bound.",
        "1. read 1 MiB, isolated, nvbench cold: dirty lines.",
        "| read 64 MiB | 25.00 | 0.100% | 0.200% | yes |",
        "| spin 50 us | 53.00 | 0.600% | - | **no** |",
        "- failed: nvbench, process 3: no",
        "| spin 10 us | isolated | 10.00 | 10.20 | +0.200 | yes |",
        "| copy 16 MiB | amortised | 10.00 | 20.00 | +10.000 | **no** |",
        "| SpecForge | 3.00 | 1.00 | - | 1.50 | 0.40 | 0.400 | 200.0 | 1.90 | 0.90% | 5.0% | - |",
        "- failed: Kernel Tuner: not there",
        "| hang | 0 | error | hang / no answer |",
        "What was wrong with that: read paid.",
    ],
)
def test_the_page_says_what_the_results_hold(results, line):
    assert line in document.page(results).splitlines()


def test_a_missing_result_is_said_to_be_missing(tmp_path):
    text = document.page(tmp_path)
    for name, title, _ in document.SECTIONS:
        assert f"## {title}" in text
        assert f"Not measured yet: `python -m benchmarks.measurement.{name}`" in text


def test_the_page_is_made_from_the_committed_results():
    assert document.PAGE.read_text() == document.page(document.RESULTS)


@pytest.mark.parametrize("name", [name for name, *_ in document.SECTIONS])
def test_help_needs_no_card(name):
    command = [sys.executable, "-m", f"benchmarks.measurement.{name}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert f"{name}.json" in done.stdout


@pytest.mark.parametrize("name", ["resume", "hostile"])
def test_the_sweeps_load(name):
    assert load_spec(HERE / f"{name}.yaml").benchmarks
