"""Whole commands: in this process, in a folder of their own; the compile cache is shared and all else apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from specforge.cli import main
from tests import readme

ROOT = Path(__file__).parents[2]
DEMO = """\
specforge: 1
spec: demo
device: devices/rtx4090.yaml
benchmarks:
  silu:
    kernel: activation/silu
    bind: {{dtype: bf16, columns: 256}}
    matrix: {{rows: {rows}}}
    targets:
      - {{metric: spill_bytes, equals: 0}}
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended; `text` is standard output, `errors` standard error."""

    status: int
    text: str
    errors: str


@pytest.fixture
def home(tmp_path: Path, share_cache: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder. Tests share compiled binaries, found by content, but no failing examples."""
    folder = tmp_path / "home"
    share_cache(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SPECFORGE_STATE", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("SPECFORGE_JOBS", "1")
    return folder


@pytest.fixture
def copy(home: Path) -> Path:
    """The working folder with the repository's own specs and kernels in it."""
    for name in ("specs", "kernels"):
        shutil.copytree(ROOT / name, home / name)
    return home


@pytest.fixture
def demo(home: Path, readme_files: dict[str, str]) -> Callable[[list[int]], Path]:
    """Write the README's kernel and, as specs/demo.yaml, a spec of its cases with so many rows; gives its folder."""

    def write(rows: list[int]) -> Path:
        for name, text in readme_files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
        (home / "specs" / "demo.yaml").write_text(DEMO.format(rows=rows))
        return home / "kernels" / "activation" / "silu"

    return write


@pytest.fixture
def specforge() -> Callable[..., Ended]:
    """Run a command line in this process; whatever is raised beyond an exit status fails the test."""

    def run(*arguments: str) -> Ended:
        result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def readme_files() -> dict[str, str]:
    """The files that the README shows, by path."""
    return readme.files()
