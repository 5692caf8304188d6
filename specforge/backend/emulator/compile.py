"""Compiles a rendered kernel source into a shared library for the CPU, once per content."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from specforge.backend.emulator.compiler import (
    LINK_FLAGS,
    HostCompiler,
    HostCompilerMissing,
    compile_flags,
    cpu_identity,
    find_host_compiler,
)
from specforge.backend.emulator.headers import RUNTIME, cuda_files, digest, included_files, runtime_files
from specforge.backend.emulator.prebuilt import HostCompileError, prebuild, run_compiler
from specforge.backend.emulator.sanitize import Sanitize, kernel_flags, runtime_flags, separate_arrays, watch_copies

__all__ = ["HostCompileError", "HostCompiler", "HostCompilerMissing", "compile_host", "find_host_compiler"]

# clang refuses a precompiled header when a system header was updated under it; without one a compile is only slower.
_STALE = re.compile(r"fatal error: .*(precompiled|PCH|AST file)")


def compile_host(
    source: str,
    entries: Sequence[str],
    *,
    include_dirs: Sequence[Path],
    cuda_include_dirs: Sequence[Path],
    cache_dir: Path,
    compiler: HostCompiler,
    options: Sequence[str] = (),
    sanitize: Sanitize = "off",
) -> Path:
    """The shared library for a rendered source, from the cache when the same content was compiled before.

    `options` are given to the compiler after its usual flags, `sanitize` says which faults it shall find. The key
    covers source, entries, every header included from `include_dirs`, the runtime, NVIDIA's headers, flags, compiler
    and CPU. Safe under concurrent callers. Raises HostCompileError, and FileNotFoundError for CUDA headers.
    """
    unit = _translation_unit(source, entries)
    environment: list[str | bytes | Path] = [
        *_identity(compiler),
        *options,
        sanitize,
        *kernel_flags(sanitize, compiler),
        *runtime_files(),
        *cuda_files(cuda_include_dirs),
    ]
    headers = included_files(unit.encode(), include_dirs, cuda_include_dirs)
    library = cache_dir / f"{digest([unit, *headers, *environment])}.so"
    if library.exists():
        return library
    cache_dir.mkdir(parents=True, exist_ok=True)
    plain = [compiler.path, *compile_flags(compiler.kind), *options]
    command = [*plain, *kernel_flags(sanitize, compiler)]
    search = [f"-I{folder}" for folder in (*include_dirs, RUNTIME)]
    search += [f"-isystem{folder}" for folder in cuda_include_dirs]
    shared = cache_dir / f"prefix-{digest([*environment, *map(str, cuda_include_dirs)])[:32]}"
    prefix, runtime = prebuild(command, [*plain, *runtime_flags(sanitize)], search, compiler.kind, shared)
    work = Path(tempfile.mkdtemp(prefix="compile-", dir=cache_dir))
    try:
        (work / "kernel.cc").write_text(unit, encoding="utf-8")
        built, text, assembled = (work / f"kernel.{suffix}" for suffix in ("so", "s", "o"))
        rest = [f"-fdebug-prefix-map={os.getcwd()}=.", *search, "-S", str(work / "kernel.cc"), "-o", str(text)]
        try:
            run_compiler([*command, *prefix, *rest])
        except HostCompileError as error:
            if not _STALE.search(error.log):
                raise
            run_compiler([*command, *rest])
        if sanitize != "off":
            # Names of types may hold any bytes.
            text.write_text(watch_copies(separate_arrays(text.read_text("latin-1"))), "latin-1")
        run_compiler([compiler.path, "-c", str(text), "-o", str(assembled)])
        run_compiler([compiler.path, "-fPIC", str(assembled), str(runtime), "-o", str(built), *LINK_FLAGS, "-lm"])
        os.replace(built, library)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return library


def _identity(compiler: HostCompiler) -> list[str]:
    return [compiler.path, compiler.version, *compile_flags(compiler.kind), *LINK_FLAGS, cpu_identity()]


def _translation_unit(source: str, entries: Sequence[str]) -> str:
    """The source unchanged, then the launch code and one exported function per entry."""
    lines = ['#line 1 "rendered source"', source, '#line 1 "kernel entries"', "#include <emulator_entry.h>"]
    lines += [f"SPECFORGE_EMULATOR_ENTRY({entry}, ({_launch_bounds(source, entry)}))" for entry in entries]
    return "\n".join(lines) + "\n"


def _launch_bounds(source: str, entry: str) -> str:
    """The first argument of the entry's __launch_bounds__ as written, or 0."""
    for start in re.finditer(r"__launch_bounds__\s*\(", source):
        depth, end, comma = 1, start.end(), 0
        while depth and end < len(source):
            depth += {"(": 1, ")": -1}.get(source[end], 0)
            if source[end] == "," and depth == 1 and not comma:
                comma = end
            end += 1
        if re.match(rf"[\w\s]*\b{re.escape(entry)}\s*\(", source[end:]):
            return source[start.end() : comma or end - 1].strip()
    return "0"
