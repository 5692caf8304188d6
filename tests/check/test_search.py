"""A search in a process of its own: the same report, the same diagnostics, and no pass where that process ends."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from specforge.backend.emulator.compile import compile_host, find_host_compiler
from specforge.backend.worker import TaskFailed, Worker
from specforge.check.search import Search
from specforge.diagnostics import SpecForgeError
from specforge.kernel.nvrtc import load_toolchain
from specforge.kernel.render import render
from specforge.roots import shipped
from specforge.spec.interface import find_kernel
from specforge.verify.fuzz import FuzzReport
from tests.backend.test_worker import gone
from tests.check.test_checker import KERNEL, REFERENCE, SPEC, TEMPLATE

WRONG = (
    "= weight / total;",
    "= weight / total * (tokens % 7 == 3 ? 1.0001f : 1.0f);",
)  # the ends of the range are right
VARIANT = {"experts": 128, "top_k": 4, "dtype": "bf16", "renormalise": True, "warps": 4}
KILLER = """\
import os
import signal


def reference(**given):
    parent = os.getppid()
    with open(f"/proc/{parent}/cmdline", "rb") as line:
        if b"backend.serve" in line.read():  # the search's own process, and no test's
            os.kill(parent, signal.SIGKILL)
    return original(**given)


"""
WAIVERS = """
waivers:
  - {when: "tokens % 2 == 0", reason: "a tie", until: 2999-12-31}
"""


@pytest.fixture
def search(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Search]:
    """The search of a copy of the shipped router, with pieces of its files replaced."""

    def make(template: tuple[str, str] = ("", ""), reference: tuple[str, str] = ("", ""), more: str = "") -> Search:
        folder = tmp_path / "kernels" / "moe" / "router_topk"
        shutil.copytree(shipped() / "kernels" / "moe" / "router_topk", folder)
        for name, (old, new) in (("kernel.cu.j2", template), ("reference.py", reference)):
            text = (folder / name).read_text()
            assert old in text
            (folder / name).write_text(text.replace(old, new, 1))
        with (folder / "kernel.yaml").open("a") as file:
            file.write(more)
        kernel = find_kernel("moe/router_topk", (tmp_path, shipped()))
        library = compile_host(
            render(kernel, VARIANT).text,
            ["route"],
            include_dirs=kernel.include_dirs,
            cuda_include_dirs=load_toolchain().include_dirs,
            cache_dir=tmp_path_factory.getbasetemp() / "emulated",
            compiler=find_host_compiler(),
        )
        return Search(
            kernel=kernel,
            variants=((VARIANT, str(library)),),
            replayed=(),
            examples=40,
            seed=3,
            deadline=time.monotonic() + 120,
            cap=2e6,
            known=(),
            committed=(),
            shrink_seconds=60.0,
            device={},
            backend="emulator",
            singled=(VARIANT,),
            enough=10,
        )

    return make


def apart(search: Search, folder: Path, progress: Callable[[int], None] = lambda _: None) -> FuzzReport:
    with Worker("emulator") as process:
        return search.run_apart(process, "emulator", folder / "hypothesis", progress)


@pytest.mark.parametrize(
    ("template", "more"), [(("", ""), ""), (WRONG, ""), (WRONG, WAIVERS)], ids=["right", "wrong", "waived"]
)
def test_the_report_is_the_same(search: Callable[..., Search], tmp_path: Path, template, more: str) -> None:
    asked = search(template, more=more)
    counts: tuple[list[int], list[int]] = ([], [])
    with Worker("emulator") as worker:
        here = asked.run(worker, counts[0].append)
    there = apart(asked, tmp_path, counts[1].append)
    assert replace(here, seconds=0.0) == replace(there, seconds=0.0)
    assert counts[0] == counts[1] == list(range(1, here.examples + 1))
    assert (here.failure is None) is (template is not WRONG or bool(more))
    assert [use.failed > 0 for use in here.waivers] == [True] * bool(more)
    assert (tmp_path / "hypothesis").is_dir(), "Hypothesis's files are where they were asked to be"


def test_what_the_reference_does_wrong_comes_with_its_place(search: Callable[..., Search], tmp_path: Path) -> None:
    asked = search(reference=("\n    return", "\n    raise ValueError('no such choice')\n    return"))
    with Worker("emulator") as worker, pytest.raises(SpecForgeError, match="no such choice") as here:
        asked.run(worker, lambda _: None)
    with pytest.raises(SpecForgeError) as there:
        apart(asked, tmp_path)
    assert there.value.diagnostics == here.value.diagnostics
    assert there.value.diagnostics[0].position is not None


def test_a_process_that_ends_shows_nothing(search: Callable[..., Search], tmp_path: Path) -> None:
    asked = search(reference=("def reference", f"{KILLER}def original"))
    with pytest.raises(TaskFailed, match="SIGKILL") as caught:
        apart(asked, tmp_path)
    assert caught.value.summary == "the process of its search: killed by SIGKILL"


@pytest.fixture
def two(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec of two kernels that are alike, and processors to spare."""
    monkeypatch.setenv("SPECFORGE_JOBS", "4")
    spec = SPEC
    for name in ("sums", "more"):
        folder = home / "kernels" / "demo" / name
        folder.mkdir(parents=True)
        text = KERNEL.replace("FORMULA", "(8 + 4 * sqrt(columns))").replace("kernel: sums", f"kernel: {name}")
        (folder / "kernel.yaml").write_text(text)
        (folder / "kernel.cu.j2").write_text(TEMPLATE)
        (folder / "reference.py").write_text(REFERENCE)
    spec += SPEC[SPEC.index("  sums:\n") :].replace("sums", "more")
    (home / "specs").mkdir()
    (home / "specs" / "sums.yaml").write_text(spec)
    return home


CHECK = ("check", "specs/sums.yaml", "--until", "verify", "--examples", "20")


def test_a_whole_check_says_the_same(two: Path, specforge: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = specforge(*CHECK)
    assert beside.status == 0, beside.errors
    monkeypatch.setenv("SPECFORGE_JOBS", "1")
    alone = specforge(*CHECK)
    assert re.sub(r"[\d.]+ s\b", "", beside.text) == re.sub(r"[\d.]+ s\b", "", alone.text)


def test_a_search_that_ends_leaves_its_kernel_undecided(
    two: Path, specforge: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow = Worker.follow

    def killed(self: Worker, task: Callable, asked: tuple, noted: Callable[[int], None], *, timeout: float):
        def hear(count: int) -> None:
            noted(count)
            if asked[0].kernel.identity == "demo/more":
                os.kill(self.pid, signal.SIGKILL)

        return follow(self, task, asked, hear, timeout=timeout)

    monkeypatch.setattr(Worker, "follow", killed)
    ended = specforge(*CHECK)
    said = " ".join(ended.text.split())
    assert ended.status == 4, said
    assert "the process of its search: killed by SIGKILL" in said
    assert "proven demo/sums (20 examples) agrees" in said


def workers_of(pid: int) -> list[int]:
    """The worker processes that a process has started and that still run; none where it is gone itself."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (thread / "children").read_text().split():
                if b"backend.serve" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))  # noqa: PERF401 - those before one that is gone count
    return found


def test_ctrl_c_ends_every_process(two: Path) -> None:
    command = [sys.executable, "-m", "specforge", *CHECK[:-1], "5000"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, cwd=two, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as check:
        deadline, inner = time.monotonic() + 60, []
        while not inner and time.monotonic() < deadline:
            time.sleep(0.05)
            outer = workers_of(check.pid)
            inner = [pid for process in outer for pid in workers_of(process)]
        assert inner, "a search's process has one for its examples"
        check.send_signal(signal.SIGINT)
        check.communicate(timeout=20)
    assert check.returncode not in (0, 1, 3)
    assert all(gone(pid) for pid in outer + inner)
