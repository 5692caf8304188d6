"""Cases rehearsed ahead of timing: all answers, in the memory there is; what goes wrong is left to who measures."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Literal

import pytest

from specforge.backend import worker
from specforge.backend.runner import KernelFault
from specforge.check.jobs import Job
from specforge.check.rehearsal import _Room, rehearse, worth_rehearsing
from specforge.diagnostics import Position
from specforge.measure.case import MeasureTask
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.spec.peers import DeclaredPeer
from specforge.verify.example import Example

FAKE = Path(__file__).parent / "fake"
DOUBLE = "def reference(*, x):\n    return {'out': x * 2.0}\n"


@pytest.fixture(autouse=True)
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake card in every worker."""
    serve = "import specforge.backend.serve as serve; serve.create_runner = fake_card.create"
    start = "serve.main(int(sys.argv[1]))"
    path = f"import sys; sys.path[:0] = [{str(FAKE)!r}, sys.argv[2]]"
    monkeypatch.setattr(worker, "_CHILD", f"{path}; import fake_card; {serve}; {start}")
    monkeypatch.setenv("SPECFORGE_STATE", str(tmp_path))


def job(folder: Path, reference: str, size: int, residency: Literal["hot", "cold"] = "cold") -> Job:
    path, binary = folder / f"reference_{size}.py", folder / "binary"
    path.write_text(reference)
    binary.write_bytes(b"cubin")
    buffers = (
        BufferPlan("x", (size,), "f32", "in", ("normal",), residency, ()),
        BufferPlan("out", (size,), "f32", "out", (), "cold", ()),
    )
    launch = LaunchPlan("f", (1, 1, 1), (32, 1, 1), 0, ("x", "out"))
    plan = Plan("k", str(path), {"n": size}, {}, buffers, (launch,), 16.0, 4.0, 4.0, {"out": Tolerance(False, 1e-5)})
    digest = hashlib.sha256(b"cubin").hexdigest()
    return Job(f"case{size}", MeasureTask(plan, str(binary), digest, Example({"n": size}), None), 1)


def answers(folder: Path, jobs: list[Job], width: int = 2) -> tuple[int, list[int], dict[str, str]]:
    """How many answers a rehearsal leaves, what it tells of its progress, and what it saw wrong."""
    kept, seen = folder / "answers", list[int]()
    kept.mkdir()
    wrong = rehearse(jobs, "cuda:0", str(kept), width, seen.append)
    said = {case: found.kind if isinstance(found, KernelFault) else str(found.refusal) for case, found in wrong.items()}
    return len(list(kept.glob("*.npz"))), seen, said


def test_all_are_answered_and_counted(tmp_path: Path) -> None:
    jobs = [job(tmp_path, DOUBLE, 3), job(tmp_path, DOUBLE, 4), job(tmp_path, DOUBLE, 5, "hot")]
    found, seen, wrong = answers(tmp_path, jobs)
    assert wrong == {}
    assert found == 4, "hot inputs change their values once, so there are two answers"
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("said", ["raise ValueError('no')", "import os; os._exit(3)"])
def test_a_reference_that_fails_is_left_to_the_one_that_measures(tmp_path: Path, said: str) -> None:
    failing = f"def reference(*, x):\n    {said}\n"
    jobs = [job(tmp_path, failing, 4), job(tmp_path, DOUBLE, 3)]
    assert answers(tmp_path, jobs, width=1) == (1, [1, 2], {})


@pytest.mark.parametrize("fault", ["illegal", "crash", "memory"])
def test_a_fault_costs_its_own_case_alone(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULTS", json.dumps({"'n': 5": fault}))
    jobs = [job(tmp_path, DOUBLE, size) for size in (5, 4, 3)]
    found, _, wrong = answers(tmp_path, jobs, width=1)
    assert found == 2
    assert wrong == ({"case5": "illegal access"} if fault == "illegal" else {}), "a kernel's fault is not forgotten"


def test_a_wrong_result_is_kept_though_it_may_not_show_again(tmp_path: Path) -> None:
    fickle = "from pathlib import Path\n\ndef reference(*, x):\n    mark = Path(__file__ + '.asked')\n"
    fickle += "    wrong = mark.exists()\n    mark.touch()\n    return {'out': x * (3.0 if wrong else 2.0)}\n"
    assert answers(tmp_path, [job(tmp_path, fickle, 4)])[2] == {"case4": "not timed: the result is wrong"}


def test_a_card_that_cannot_be_used_leaves_everything(tmp_path: Path) -> None:
    (tmp_path / "lost").touch()
    assert answers(tmp_path, [job(tmp_path, DOUBLE, 3)]) == (0, [1], {})


def test_small_cases_without_peers_are_not_worth_a_process(tmp_path: Path) -> None:
    peer = DeclaredPeer("other", "make", Position(tmp_path / "peers.py", 1, 1))
    small = job(tmp_path, DOUBLE, 3)
    assert not worth_rehearsing(small)
    assert worth_rehearsing(Job(small.case, small.task, 1, (peer,)))
    assert worth_rehearsing(job(tmp_path, DOUBLE, 1 << 18))
    assert not worth_rehearsing(job(tmp_path, DOUBLE, 1 << 24)), "its answers are not kept"


def test_room_is_shared_and_never_overdrawn() -> None:
    room, most, now = _Room(10), 0, 0
    lock = threading.Lock()

    def take(need: int) -> None:
        nonlocal most, now
        with room.taken(need):
            with lock:
                now += min(need, 10)
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= min(need, 10)

    threads = [threading.Thread(target=take, args=(need,)) for need in (4, 4, 4, 11, 4, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads), "who needs more than there is waits for ever"
    assert 8 <= most <= 10
