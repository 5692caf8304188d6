"""NVRTC: CUDA source -> cubin and log. The only module of this room that touches CUDA's own libraries, lazily."""

from __future__ import annotations

import itertools
import re
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from specforge.diagnostics import fail

FLAGS = ("--std=c++17", "--ptxas-options=-v", "--no-cache")
"""Beside the architecture and the include folders.

Where there is a driver, NVRTC keeps a cache of its own: what comes from there was not built from this source now, and
its log lacks ptxas' report.
"""

_WHEELS = ("nvidia-cuda-nvrtc", "nvidia-cuda-runtime", "nvidia-cuda-cccl")
_WAY_OUT = "install the wheels: pip install nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl"
_TIME = re.compile(r"^ptxas info\s*: Compile time = .*\n", re.MULTILINE)
"""The one part of a log that differs between equal compilations."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The compiler that is loaded and the headers that go with it."""

    version: tuple[int, int]
    include_dirs: tuple[Path, ...]
    architectures: frozenset[int]

    @property
    def identity(self) -> str:
        """What a cache key says about compiler and headers."""
        return f"NVRTC {self.version[0]}.{self.version[1]}, headers {_header_version(self.include_dirs[0])}"

    def is_wheel(self, identity: str) -> bool:
        """Whether the loaded NVRTC is the wheel of `cheap_identity` and not one that something else loaded first."""
        return identity.startswith(f"{_WHEELS[0]} {_dotted(self.version)}.")


@dataclass(frozen=True, slots=True)
class Compilation:
    """What NVRTC gave: a cubin, or None and a log that says why."""

    cubin: bytes | None
    log: str


@lru_cache(maxsize=1)
def cheap_identity() -> str | None:
    """Versions of the installed CUDA wheels, none of them loaded; None where the compiler comes from elsewhere."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return ", ".join(f"{name} {version(name)}" for name in _WHEELS)
    except PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def load_toolchain() -> Toolchain:
    """Load NVRTC and find its headers; raises SF701 with the way out where either is missing."""
    nvrtc = _bindings()
    try:
        major, minor = _checked(nvrtc.nvrtcVersion())
        architectures = _checked(nvrtc.nvrtcGetSupportedArchs()) if _checked(nvrtc.nvrtcGetNumSupportedArchs()) else []
    except (RuntimeError, OSError) as error:
        raise fail(
            "SF701", f"NVRTC, which compiles kernels, is not on this machine: {_first_line(error)}", hint=_WAY_OUT
        ) from None
    return Toolchain((major, minor), _header_dirs(), frozenset(architectures))


def compile_source(
    source: str, path: Path, architecture: str, include_dirs: tuple[Path, ...], extra: tuple[str, ...] = ()
) -> Compilation:
    """Compile one source as if it stood at `path`; `extra` flags follow FLAGS. NVRTC releases the GIL: use threads.

    Raises SF701 where NVRTC or its headers are missing or too old for the architecture.
    """
    toolchain = load_toolchain()
    nvrtc = _bindings()
    known = toolchain.architectures
    if int(architecture.removeprefix("sm_").rstrip("af")) not in known:
        listing = ", ".join(f"sm_{number}" for number in sorted(known))
        raise fail(
            "SF701",
            f"NVRTC {_dotted(toolchain.version)} cannot compile for {architecture}",
            hint=f"it knows {listing}; {_WAY_OUT}",
        )
    folders = (*include_dirs, *toolchain.include_dirs)
    where = str(path.resolve())  # absolute: NVRTC searches the folder of a bare name, the working folder, for headers
    options = [
        f"--gpu-architecture={architecture}",
        *FLAGS,
        *extra,
        *(f"--include-path={folder}" for folder in folders),
    ]
    program = _checked(nvrtc.nvrtcCreateProgram(source.encode(), where.encode(), 0, [], []))
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
        _checked(nvrtc.nvrtcGetProgramLog(program, log))
        text = _TIME.sub("", log.replace(b"\0", b"").decode(errors="replace"))
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            return Compilation(None, text or f"{status.name}\n")
        cubin = bytearray(_checked(nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc.nvrtcGetCUBIN(program, cubin))
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return Compilation(bytes(cubin), text)


def compiler_name() -> str:
    """The loaded compiler as records name it, such as `NVRTC 13.5`."""
    return f"NVRTC {_dotted(load_toolchain().version)}"


def _bindings() -> Any:  # noqa: ANN401 - an untyped extension module
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise fail(
            "SF701", f"cuda-python, which reaches NVRTC, is not installed: {error}", hint="pip install cuda-python"
        ) from None
    return nvrtc


def _checked(result: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever the call gives beside its status
    status, *values = result
    if int(status) != 0:
        raise RuntimeError(f"NVRTC reports {status.name}")
    return values[0] if len(values) == 1 else values


def _header_dirs() -> tuple[Path, ...]:
    """The CUDA runtime's headers and CCCL's: from the wheels, else from an installed toolkit."""
    from cuda import pathfinder

    found: list[Path] = []
    for library, probe in (("cudart", "cuda_bf16.h"), ("cccl", "nv/target")):
        try:
            located = pathfinder.find_nvidia_header_directory(library)
        except (RuntimeError, ValueError):
            located = None
        candidates = [Path(located)] if located else []
        candidates += [include / part for include in _toolkit_includes() for part in ("", "cccl")]
        folder = next((candidate for candidate in candidates if (candidate / probe).is_file()), None)
        if folder is None:
            raise fail(
                "SF701", f"the CUDA headers that kernels include ({probe}) are not on this machine", hint=_WAY_OUT
            )
        found.append(folder)
    # The emulator's host compiler wants these; NVRTC has its own. PyTorch's wheels leave them out, toolkits do not.
    crt = (folder for folder in (*found, *_toolkit_includes()) if (folder / "crt" / "host_defines.h").is_file())
    return tuple(dict.fromkeys((*found, *itertools.islice(crt, 1))))


def _toolkit_includes() -> list[Path]:
    nvcc = shutil.which("nvcc")
    homes = [Path(nvcc).resolve().parent.parent] if nvcc else []
    return [home / "include" for home in (*homes, Path("/usr/local/cuda"))]


def _header_version(folder: Path) -> str:
    found = re.search(
        r"#define\s+CUDART_VERSION\s+(\d+)",
        (folder / "cuda_runtime_api.h").read_text(encoding="utf-8", errors="replace"),
    )
    return found[1] if found else "unknown"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
