"""What timing needs is begun ahead of it, once, waited for, and ended where nobody waits; what cannot be is left."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from specforge.check import ahead as module
from specforge.check.ahead import Ahead
from specforge.check.jobs import Job
from specforge.diagnostics import Position, SpecForgeError
from specforge.spec.peers import DeclaredPeer
from tests.check.test_answers import DOUBLE, KILLED, job


@pytest.fixture(autouse=True)
def small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specforge.check.answers.LEAST_BYTES", 0)


class Told:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.counts: list[tuple[int, int | None]] = []

    def stage(self, name: str, _total: int | None = None) -> None:
        self.stages.append(name)

    def advance(self, done: int, total: int | None = None) -> None:
        self.counts.append((done, total))


def answers(ahead: Ahead) -> int:
    return len(list(Path(ahead.folder).glob("*.npz")))


def test_all_are_answered_once_and_counted(tmp_path: Path) -> None:
    jobs, told = [job(tmp_path, DOUBLE, size) for size in (3, 4)], Told()
    hot = tuple(replace(buffer, residency="hot") for buffer in jobs[0].task.plan.buffers)
    jobs[0] = replace(jobs[0], task=replace(jobs[0].task, plan=replace(jobs[0].task.plan, buffers=hot)))
    with Ahead(2) as ahead:
        ahead.begin("spec", jobs[:1], "emulator")
        ahead.begin("spec", jobs, "emulator")
        ahead.wait("spec", told)  # type: ignore[arg-type]
        assert answers(ahead) == 3, "of a case with hot inputs, the answer to their fresh values, too"
        assert told.counts == [(1, 3), (2, 3), (3, 3)]
        ahead.begin("spec", jobs, "emulator")
        ahead.wait("spec", told)  # type: ignore[arg-type]
        assert len(told.counts) == 3, "what was begun is not begun again"
    assert not Path(ahead.folder).exists()


def test_a_reference_that_raises_is_told(tmp_path: Path) -> None:
    jobs = [job(tmp_path, DOUBLE, 3), job(tmp_path, "def reference(*, x):\n    raise ValueError('no')\n", 4)]
    with Ahead(2) as ahead:
        ahead.begin("spec", jobs, "emulator")
        ahead.wait("another", Told())  # type: ignore[arg-type]
        with pytest.raises(SpecForgeError, match="raised ValueError"):
            ahead.wait("spec", Told())  # type: ignore[arg-type]


def test_what_ends_its_process_is_left_to_the_one_that_measures(tmp_path: Path) -> None:
    with Ahead(1) as ahead:
        ahead.begin("spec", [job(tmp_path, KILLED, 4), job(tmp_path, DOUBLE, 3)], "emulator")
        ahead.wait("spec", Told())  # type: ignore[arg-type]
        assert answers(ahead) == 1


def test_what_nobody_waits_for_ends_with_the_block(tmp_path: Path) -> None:
    slow = "import time\n\ndef reference(*, x):\n    time.sleep(600)\n"
    begin, threads = time.monotonic(), threading.active_count()
    with Ahead(1) as ahead:
        ahead.begin("spec", [job(tmp_path, slow, 3), job(tmp_path, slow, 4)], "emulator")
        time.sleep(0.5)
    assert time.monotonic() - begin < 60
    assert threading.active_count() == threads


def test_it_stands_back_for_others(tmp_path: Path) -> None:
    said = tmp_path / "said"
    text = "import os\nfrom pathlib import Path\n\ndef reference(*, x):\n    group = Path('/proc/self/autogroup')\n"
    text += f"    Path({str(said)!r}).write_text("
    text += "f'{os.getpriority(os.PRIO_PROCESS, 0)} {group.read_text() if group.exists() else 10}')\n"
    text += "    return {'out': x * 2.0}\n"
    with Ahead(1) as ahead:
        ahead.begin("spec", [job(tmp_path, text, 3)], "emulator")
        ahead.wait("spec", Told())  # type: ignore[arg-type]
    own, *_, group = said.read_text().split()
    assert (own, group) == ("10", "10")


def note_peer(_, task):  # type: ignore[no-untyped-def]
    """Stands for `make_peer`: leaves its name and case in a file beside the peers' own; of the case 1 it fails."""
    case = task.case.plan.case
    with task.peer.position.file.with_suffix(".made").open("a") as file:
        file.write(f"{task.peer.name} {case}\n")
    if case == 1:
        raise RuntimeError("no")


@pytest.mark.parametrize("width", [1, 2])
def test_peers_that_compile_are_made_each_kind_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("specforge.check.peers.make_peer", note_peer)
    monkeypatch.setattr(module, "worth_ahead", lambda _: False)
    file, made = tmp_path / "peers.py", tmp_path / "peers.made"
    file.touch()
    made.touch()
    kinds = {"fused": ("torch", "triton"), "plain": ("torch",), "split": ("torch", "triton")}
    peers = tuple(DeclaredPeer(name, "first", Position(file), packages=packages) for name, packages in kinds.items())
    plans = [SimpleNamespace(kernel=kernel, case=case) for case, kernel in enumerate(("one", "one", "other"), start=1)]
    jobs = [Job(f"case{plan.case}", SimpleNamespace(plan=plan), 1, peers) for plan in plans]  # type: ignore[arg-type]
    with Ahead(width) as ahead:
        ahead.begin("spec", jobs, "emulator")
        ahead.wait("spec", Told())  # type: ignore[arg-type]
    expected = ["fused 1", "split 1", "fused 3", "split 3", "fused 2", "split 2"]
    assert made.read_text().splitlines() == (expected if width // 2 else [])
