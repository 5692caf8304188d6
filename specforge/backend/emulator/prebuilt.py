"""What every kernel shares, built once per cache: the runtime's object file and a precompiled header."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from specforge.backend.emulator.headers import RUNTIME

HEADER = "emulator_prefix.h"
COMPILE_LIMIT_S = 600


class HostCompileError(Exception):
    """The host compiler rejected the source. `log` is what it said; its lines are the template's, through #line."""

    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.log = log


def prebuild(
    command: list[str], runtime_command: list[str], search: list[str], kind: str, folder: Path
) -> tuple[list[str], Path]:
    """Compiler arguments that put the precompiled header first, and the runtime's object file.

    `command` compiles kernels, `runtime_command` the runtime. Both are built in `folder` if absent: one process builds
    while others wait, and results appear by rename. Raises HostCompileError when the compiler cannot.
    """
    header = folder / HEADER
    compiled = folder / (f"{HEADER}.pch" if kind == "clang" else f"{HEADER}.gch")
    runtime = folder / "emulator_runtime.o"
    prefix = ["-include-pch", str(compiled)] if kind == "clang" else ["-include", str(header)]
    if not (compiled.exists() and runtime.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not runtime.exists():
                _build([*runtime_command, *search, "-c", str(RUNTIME / "emulator_runtime.cc")], runtime)
            if not compiled.exists():
                header.write_text("#include <specforge_emulator.h>\n", encoding="utf-8")
                _build([*command, *search, "-x", "c++-header", str(header)], compiled)
    return prefix, runtime


def _build(command: list[str], result: Path) -> None:
    unfinished = result.with_suffix(".unfinished")
    run_compiler([*command, "-o", str(unfinished)])
    os.replace(unfinished, result)


def run_compiler(command: list[str]) -> None:
    """Runs the compiler; raises HostCompileError with what it said when it fails or does not finish."""
    try:
        answer = subprocess.run(command, capture_output=True, timeout=COMPILE_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as expired:
        raise HostCompileError(f"the host compiler did not finish within {COMPILE_LIMIT_S} s") from expired
    if answer.returncode != 0:
        raise HostCompileError(answer.stderr.decode(errors="replace"))
