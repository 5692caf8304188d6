"""The host C++ compiler: finding it, and the flags that make it compile CUDA source faithfully."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

COMMANDS = ("g++", "clang++", "c++")


class HostCompilerMissing(Exception):
    """No usable C++ compiler; the message says how to install one."""


@dataclass(frozen=True, slots=True)
class HostCompiler:
    """A C++ compiler: absolute path, full version text, and `kind`, which is `gcc` or `clang`."""

    path: str
    version: str
    kind: str


def find_host_compiler(preferred: str | None = None) -> HostCompiler:
    """The compiler named by `preferred` (a command or a path), else the first of g++, clang++ and c++.

    Raises HostCompilerMissing when there is none, or when the preferred one does not run.
    """
    for command in (preferred,) if preferred else COMMANDS:
        path = shutil.which(command)
        if path is not None:
            return _identify(path)
    wanted = f"`{preferred}` is not on the PATH" if preferred else f"none of {', '.join(COMMANDS)} is on the PATH"
    raise HostCompilerMissing(
        f"the emulator compiles kernels with a host C++ compiler, and {wanted}; "
        "install one (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++)"
    )


def _identify(path: str) -> HostCompiler:
    answers = []
    for option in ("-dumpmachine", "--version"):
        try:
            answers.append(subprocess.run([path, option], capture_output=True, text=True, check=True, timeout=60))
        except (OSError, subprocess.SubprocessError) as error:
            raise HostCompilerMissing(f"`{path} {option}` failed: {error}") from error
    machine, answer = answers
    if "-" not in machine.stdout or len(machine.stdout.split()) != 1:
        raise HostCompilerMissing(f"`{path}` is no C++ compiler: asked for its target it says {machine.stdout!r}")
    version = answer.stdout.strip()
    return HostCompiler(path=path, version=version, kind="clang" if "clang" in version else "gcc")


def compile_flags(kind: str) -> list[str]:
    """Flags for a compiler of this kind.

    No contraction and no reassociation: the order of operations is the kernel's own. Signed overflow wraps and aliasing
    is not strict, as on the device. Errno and floating-point traps, which a device has not, are given up for speed.
    """
    flags = ["-std=c++17", "-O2", "-march=native", "-fPIC", "-pipe", "-w"]
    flags += ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fwrapv", "-fno-strict-aliasing"]
    flags += ["-fno-exceptions", "-fno-rtti", "-fno-asynchronous-unwind-tables", "-fno-stack-protector"]
    flags += ["-fvisibility=hidden", "-ftls-model=local-dynamic", "-U_FORTIFY_SOURCE", "-fdiagnostics-color=never"]
    flags += ["-ferror-limit=20"] if kind == "clang" else ["-fmax-errors=20", "-fno-semantic-interposition"]
    if platform.machine() in ("x86_64", "AMD64"):
        flags.append("-fcf-protection=none")  # fibres and a shadow stack do not go together
    # Leaves out the GNU library's elliptic integrals and the like, which no card has: their templates are instantiated
    # anew for every source, and cost a quarter of a small kernel's compilation.
    return [*flags, "-D_GLIBCXX_BITS_SPECFUN_H=1", "-DSPECFORGE_EMULATOR=1"]


LINK_FLAGS = ("-shared", "-Wl,--as-needed", "-Wl,-z,defs", "-Wl,-Bsymbolic", "-Wl,--build-id=none")


def cpu_identity(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What `-march=native` depends on: architecture, model and instruction sets of the first processor."""
    wanted = {"vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features"}
    lines = [platform.machine()]
    if cpuinfo.exists():
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
        lines += [line for line in first.splitlines() if line.partition(":")[0].strip() in wanted]
    else:
        lines.append(platform.processor())
    return "\n".join(lines)
