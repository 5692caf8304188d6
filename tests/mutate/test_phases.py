"""What a mutant costs: which builds it takes to tell it apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import specforge
from specforge.backend.worker import Worker
from specforge.kernel.render import Rendered
from specforge.mutate.baseline import Baseline, prepare
from specforge.mutate.build import Build, Way
from specforge.mutate.journal import is_card
from specforge.mutate.mutant import Mutant, make
from specforge.mutate.operators import changes
from specforge.mutate.outcome import Outcome
from specforge.mutate.run import find
from specforge.mutate.tokens import read
from specforge.mutate.trial import attempt
from specforge.mutate.watch import Watch
from specforge.roots import shipped
from specforge.settings import read_settings
from specforge.spec.facts import load_device
from specforge.spec.interface import Kernel
from specforge.verify.fuzz import isolate_hypothesis
from tests.mutate.conftest import TEMPLATE, Home

CLAMPED = TEMPLATE.replace(
    "  if (i < n) y[i] = x[i] + 3;",
    "  const volatile T* p = x;\n  const T v = p[min(i, n - 1)];\n  if (i < n) y[i] = v + 3;",
)


@dataclass
class Bench:
    """A kernel's baseline and mutants, and what was compiled since the baseline was made."""

    baseline: Baseline
    mutants: list[Mutant]
    worker: Worker
    made: list[Way]

    def mutant(self, text: str) -> Mutant:
        """The one mutant whose template holds a text."""
        (found,) = (mutant for mutant in self.mutants if text in mutant.template)
        return found

    def attempt(self, mutant: Mutant) -> tuple[Outcome, list[Way]]:
        """Its outcome, and the builds that it took."""
        self.made.clear()
        return attempt(mutant, self.baseline, self.worker), list(self.made)


@pytest.fixture
def bench(home: Home) -> Iterator[Callable[..., Bench]]:
    """Build and search a kernel, by its template and what `Home.write` takes; the compiler is the real one."""
    settings = read_settings()
    isolate_hypothesis(settings.state / "hypothesis")
    with Worker("emulator") as worker:

        def start(template: str, **more: str) -> Bench:
            home.write(template=template, **more)
            card = load_device(shipped() / "specs" / "devices" / "rtx5090.yaml")
            baseline = prepare(find(str(home.kernel)), card, settings)
            for variant in (*baseline.variants, *baseline.further()):
                baseline.original(variant)
                baseline.original(variant, "bare")
            made: list[Way] = []

            class Recorded(Build):
                def library(self, kernel: Kernel, rendered: Rendered, way: Way) -> Path:
                    made.append(way)
                    return super().library(kernel, rendered, way)

            baseline.build = Recorded(baseline.build.settings, baseline.build.architecture, baseline.build.fills)
            source = read(template)
            return Bench(baseline, make(source, changes(source)), worker, made)

        yield start


def test_a_wrong_value_takes_one_plain_build(bench: Callable[..., Bench]) -> None:
    chosen = bench(TEMPLATE)
    outcome, made = chosen.attempt(chosen.mutant("x[i] - 3"))
    assert (outcome.status, outcome.by, made) == ("killed", "wrong", ["plain"])


def test_what_is_right_by_chance_is_killed_by_the_sanitizer(bench: Callable[..., Bench]) -> None:
    chosen = bench(CLAMPED)
    outcome, made = chosen.attempt(chosen.mutant("p[(i)]"))
    assert (outcome.status, outcome.by, made) == ("killed", "bounds", ["plain", "bare", "checked"])


def test_what_the_cards_compiler_refuses_does_not_compile(bench: Callable[..., Bench]) -> None:
    room = """  constexpr int SIZE = 12288;  // 48 KiB is all that static shared memory may take
  __shared__ T room[SIZE];
  room[SIZE - 32 + threadIdx.x] = x[min(i, n - 1)];
  __syncthreads();
  if (i < n) y[i] = room[SIZE - 32 + threadIdx.x] + 3;"""
    chosen = bench(TEMPLATE.replace("  if (i < n) y[i] = x[i] + 3;", room))
    outcome, made = chosen.attempt(chosen.mutant("SIZE = 12289"))
    assert (outcome.status, made) == ("invalid", ["plain", "bare"])
    assert "shared" in outcome.detail


def test_code_that_is_the_same_is_not_built_again_nor_run(bench: Callable[..., Bench]) -> None:
    chosen = bench(TEMPLATE.replace("  const int i", "  float k[2] = {1, 2};\n  const int i"))
    outcome, made = chosen.attempt(chosen.mutant("{2, 2}"))
    assert (outcome.status, made) == ("equivalent", ["plain"])
    assert chosen.worker.pid is None


def test_a_survivor_is_built_as_check_does_and_another_with_its_code_is_not(bench: Callable[..., Bench]) -> None:
    chosen = bench(TEMPLATE, domain="[32, 64]")  # n is always a multiple of the block: the guard is never needed
    survivor = chosen.mutant("if (true) y[i]")
    outcome, made = chosen.attempt(survivor)
    assert (outcome.status, made) == ("survived", ["plain", "bare", "checked"])
    other, made = chosen.attempt(replace(survivor, id="guard-of-the-same-code"))
    assert other == replace(outcome, mutant="guard-of-the-same-code")
    assert made == ["plain", "bare"]


def test_a_local_that_nothing_set_is_no_matter_of_chance(bench: Callable[..., Bench]) -> None:
    text = TEMPLATE.replace("  if (i < n)", "  volatile int odd = 0;\n  if (n == 7) odd = 1;\n  if (i < n && odd < 2)")
    chosen = bench(text)
    outcome, made = chosen.attempt(chosen.mutant("volatile int odd ;"))
    # Both builds hold the pattern there, which is below 2 as 0 is: a plain build without it would have anything.
    assert (outcome.status, made) == ("survived", ["plain", "bare", "checked"])


def pid_of(_runner: object, _given: None) -> int:
    """The process that a task runs in."""
    return os.getpid()


def test_a_waiver_may_ask_for_a_fresh_process() -> None:
    """Of a kernel with waivers, a wrong value in a later launch is tried again in one."""
    with Worker("emulator") as worker:
        before = worker.call(pid_of, None, timeout=60)
        Watch(worker).restart()
        assert worker.call(pid_of, None, timeout=60) != before


def test_what_a_journal_leaves_out_is_loaded_by_no_emulator() -> None:
    package = Path(specforge.__file__).parent
    left_out = {path.stem for path in (package / "backend").rglob("*.py") if is_card(path)}
    assert "cuda" in left_out
    assert left_out.isdisjoint({"emulated", "runner", "worker", "serve", "task", "buffers", "module", "compile"})
    code = (
        "import sys, specforge.backend.serve, specforge.backend.worker, specforge.mutate.run\n"
        "from specforge.backend.runner import create_runner\n"
        "import specforge.verify.example, specforge.verify.compare, specforge.verify.reference\n"
        "create_runner('emulator')\n"
        "print(*(name.split('.')[-1] for name in sys.modules if name.startswith('specforge.backend.')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "emulated" in loaded
    assert left_out.isdisjoint(loaded)
