"""A tiny kernel in a working folder of its own; mutants are compiled by the real compiler and run on the emulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from specforge.cli import main
from specforge.mutate import baseline

TEMPLATE = """\
#include "specforge.cuh"
typedef {{ dtype | ctype }} T;
// A comment with x + 1 and a guard: if (i < n).
static_assert(sizeof(T) == 4, "four bytes, 1 + 1");
extern "C" __global__ void __launch_bounds__(32, 4)
increase(const T* __restrict__ x, T* __restrict__ y, int n) {
  const int i = blockIdx.x * 32 + threadIdx.x;
  if (i < n) y[i] = x[i] + 3;
}
"""
KERNEL = """\
specforge: 1
kernel: increase
summary: y = x + 3.
template: kernel.cu.j2
reference: reference.py
parameters:
  n:     {type: int, bind: launch, domain: DOMAIN}
  dtype: {type: dtype, bind: compile, domain: [i32]}
tensors:
  x: {shape: [n], dtype: dtype, role: in}
  y: {shape: [n], dtype: dtype, role: out}
launches:
  - {entry: increase, grid: ["ceil_div(n, 32)"], block: ["32"], shared_bytes: "0", args: [x, y, n]}
work: {bytes: "8 * n", flops: "n"}
emulation: {steps: "10 * n"}
tolerance: {y: exact}
"""
EXAMPLES = 40
"""Of a search, so that it is quick."""
REFERENCE = "def reference(*, x):\n    return {'y': x + 3}\n"


@dataclass(frozen=True)
class Ended:
    """How a command ended; `text` is standard output, `errors` standard error."""

    status: int
    text: str
    errors: str


@dataclass(frozen=True)
class Home:
    """The working folder."""

    folder: Path
    kernel: Path

    def write(self, *, domain: str = '"1..100"', template: str = TEMPLATE, more: str = "") -> None:
        """Write the kernel's files."""
        self.kernel.mkdir(parents=True, exist_ok=True)
        (self.kernel / "kernel.cu.j2").write_text(template)
        (self.kernel / "kernel.yaml").write_text(KERNEL.replace("DOMAIN", domain) + more)
        (self.kernel / "reference.py").write_text(REFERENCE)

    def journal(self) -> Path:
        """Where outcomes are kept."""
        return self.folder / ".specforge" / "mutate" / "test__increase.jsonl"


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty working folder with a kernel; what the emulator builds for every kernel is shared between tests."""
    folder = tmp_path / "home"
    (folder / ".specforge" / "mutate").mkdir(parents=True)
    shared = tmp_path_factory.getbasetemp().parent / "specforge-mutants"
    shared.mkdir(exist_ok=True)
    (folder / ".specforge" / "mutate" / "cache").symlink_to(shared)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SPECFORGE_STATE", raising=False)
    monkeypatch.setenv("SPECFORGE_JOBS", "1")
    monkeypatch.setattr(baseline, "examples_of", lambda _: EXAMPLES)
    found = Home(folder, folder / "kernels" / "test" / "increase")
    found.write()
    return found


@pytest.fixture
def mutate() -> Callable[..., Ended]:
    """Run `specforge mutate` in this process; whatever is raised beyond an exit status fails the test."""

    def run(*arguments: str) -> Ended:
        result = CliRunner().invoke(main, ["mutate", *arguments], catch_exceptions=False)
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run
