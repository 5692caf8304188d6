"""What can be tested of the card's side without a card: jobs are made, and what tools print is read."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.faults.corpus import FAULTS
from tests.faults.on_card import prepare, reported

CLEAN = """\
========= COMPUTE-SANITIZER
ran copy.tail_write.twin
========= ERROR SUMMARY: 0 errors
"""
INVALID = """\
========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at copy+0x150 in kernels/copy/tail_write/tail_write.cu.j2:8
=========     by thread (1,0,0) in block (0,0,0)
=========
========= ERROR SUMMARY: 1 error
"""
RACE = """\
========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at reverse+0x70 in kernels/a/b.cu.j2:8
=========     and Read access at reverse+0xd0 in kernels/a/b.cu.j2:12 [128 hazards]
=========
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLEAN, "nothing"),
        (INVALID, "Invalid __global__ write of size 4 bytes (tail_write.cu.j2:8)"),
        (RACE, "Error: Race reported between Write access at reverse+0x70 in kernels/a/b.cu.j2:8 (b.cu.j2:8)"),
        ("Traceback\nRuntimeError: waiting: 700\n", "no answer: RuntimeError: waiting: 700"),
        ("", "no answer: no output"),
    ],
)
def test_what_a_tool_prints(text: str, said: str) -> None:
    assert reported(text) == said


def test_a_run_that_was_stopped_may_have_said_something() -> None:
    assert reported("========= COMPUTE-SANITIZER\n", ended=False) == "hang"
    assert reported(INVALID.partition("========= ERROR")[0], ended=False).startswith("Invalid __global__ write")


def test_a_job_is_whole(tmp_path: Path) -> None:
    fault = next(fault for fault in FAULTS if fault.interface == "split_sum")
    path, tasks = prepare(fault, True, "sm_90", tmp_path)
    job = pickle.loads(path.read_bytes())
    assert job["cubin"].startswith(b"\x7fELF")
    for tensors, launches in job["cases"]:
        assert [launch[0] for launch in launches] == ["clear", "split_sum"]
        assert launches[1][4] == ["x", "partial", "arrived", "out", ("c_int", tensors["x"].shape[1])]
        assert tensors["partial"] == 16 * tensors["x"].shape[0]
    assert all(task[2].parameters["faulty"] for task in tasks)
