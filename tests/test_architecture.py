"""Who may know whom: the contracts of pyproject.toml hold, and each of them would notice."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "specforge"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter over the package in a folder, with that folder's pyproject.toml."""
    command = [sys.executable, "-c", LINT, "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "400"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_contracts_hold():
    ended = lint(ROOT)
    assert ended.returncode == 0, ended.stdout
    assert "3 kept, 0 broken" in ended.stdout


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(PACKAGE, folder / "specforge", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(
    ("module", "text", "contract"),
    [
        ("spec/target.py", "from specforge.kernel.source import x", "one way"),
        ("expressions.py", "def f():\n    from specforge.spec.load import x", "one way"),
        ("judge/verdict.py", "import specforge.record.model", "one way"),
        ("dtypes.py", "import specforge.settings", "one way"),
        ("utils.py", "", "one way"),
        ("verify/compare.py", "import cuda.bindings.driver", "driver"),
        ("report/text.py", "def f():\n    import pynvml", "driver"),
        ("kernel/cubin.py", "from cuda.bindings import nvrtc", "driver"),
        ("spec/load.py", "import numpy", "arrays"),
        ("record/store.py", "def f():\n    import hypothesis", "arrays"),
    ],
)
def test_a_contract_notices(copied, module, text, contract):
    path = copied / "specforge" / module
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{text}\n")
    try:
        ended = lint(copied)
    finally:
        path.write_text(before) if before is not None else path.unlink()
    assert ended.returncode != 0
    broken = [line for line in ended.stdout.splitlines() if " BROKEN" in line]
    if module == "utils.py":
        assert "utils" in ended.stdout, "a room that is not among the layers"
    else:
        assert len(broken) == 1, ended.stdout
    assert all(contract in line for line in broken)


def test_the_kernel_room_compiles_and_runs_nothing():
    found = {name for path in (PACKAGE / "kernel").glob("*.py") for name in imports(path) if name.startswith("cuda")}
    assert found == {"cuda.bindings.nvrtc", "cuda.pathfinder"}


def test_the_environment_is_read_in_one_place():
    """Others may pass the whole of it on to a process that they start."""
    read = re.compile(r"os\.environ(\.get|\[)|os\.getenv|from os import .*environ")
    found = {str(path.relative_to(PACKAGE)) for path in MODULES if read.search(path.read_text())}
    assert found <= {"settings.py"}
    assert "env.get(" in (PACKAGE / "settings.py").read_text()


@pytest.mark.parametrize("path", sorted(ROOT.glob("kernels/*/*/reference.py")), ids=lambda path: path.parent.name)
def test_references_know_numpy_and_nothing_else(path):
    assert {name.partition(".")[0] for name in imports(path)} <= {"__future__", "numpy", "math"}


def test_modules_have_names_that_say_something():
    empty = {"utils", "util", "common", "base", "core", "helpers", "misc", "tools"}
    assert [path for path in MODULES if {path.stem, *path.relative_to(PACKAGE).parts[:-1]} & empty] == []


@pytest.mark.parametrize("path", [path for path in MODULES if path.read_text().strip()], ids=lambda path: path.stem)
def test_every_module_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    first = (ast.get_docstring(tree) or "").partition("\n")[0]
    assert first.endswith((".", ":")), first
    bare = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert bare == [], "a bare except"
