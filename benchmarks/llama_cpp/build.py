"""Building what is needed of llama.cpp's CUDA backend: 20 files of 250, and stubs for whatever else they name.

The whole backend takes 6 minutes on 16 cores, nearly all of it for operations and types that are not timed here. What
is built is llama.cpp's own, with the flags of its CMake files; calling what is left out ends the program with its name.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
CUDA = ("mmvq", "mmvf", "ggml-cuda", "fattn", "unary", "gated_delta_net", "mmf", "quantize", "fwht", "mmid")
"""Of ggml/src/ggml-cuda; the slowest first. `ggml-cuda` asks the others which of them takes a product."""
BASE = (
    "ggml.c", "ggml.cpp", "ggml-alloc.c", "ggml-backend.cpp", "ggml-backend-meta.cpp", "ggml-backend-reg.cpp",
    "ggml-backend-dl.cpp", "ggml-threading.cpp", "ggml-quants.c",
)  # fmt: skip
DEFINES = ("NDEBUG", "_GNU_SOURCE", "_XOPEN_SOURCE=600", "GGML_SCHED_MAX_COPIES=4", "GGML_USE_CUDA")
CUDA_DEFINES = ("GGML_CUDA_USE_GRAPHS", "GGML_CUDA_NO_VMM")
CACHE_TYPES = ("F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""Of keys and of values: CMake says of each pair whether its instances are there. Here f16 with f16 is."""
CUDA_FLAGS = ("-std=c++17", "-O3", "-use_fast_math", "-extended-lambda")
PROGRAMS = {"ops": HERE / "ops.cpp", "test-backend-ops": Path("tests/test-backend-ops.cpp")}
"""By name; below the source where relative."""
HEADERS = ("cublas_v2.h", "cublas_api.h")
"""What ggml's headers include; no program here is linked with cuBLAS."""
OURS = re.compile(r"ggml|gguf|cublas|quantize_|mul_mat_")
"""Undefined symbols that get a stub; others are the libraries'."""


@dataclass(frozen=True, slots=True)
class Built:
    """Programs by name, and how they came to be."""

    programs: dict[str, Path]
    flags: tuple[str, ...]
    seconds: float
    by_file: dict[str, float] = field(default_factory=dict)
    left_out: int = 0


class BuildError(Exception):
    """A command failed; the text is what it printed."""


def build(
    source: Path, out: Path, *, architecture: str, jobs: int, commit: str, version: str, leave: Collection[str] = ()
) -> Built:
    """Compile and link below `out`, without programs of `leave`; `source` has at least what `needed` names."""
    begin = time.monotonic()
    ggml = source / "ggml"
    out.mkdir(parents=True, exist_ok=True)
    (out / "ggml-version.h").write_text(f'#define GGML_VERSION "{version}"\n#define GGML_COMMIT "{commit}"\n')
    pairs = [f"#define GGML_CUDA_FA_{k}_{v} {int(k == v == 'F16')}\n" for k in CACHE_TYPES for v in CACHE_TYPES]
    (out / "instances.h").write_text('#define GGML_CUDA_FA_QUANTS "f16-f16"\n' + "".join(pairs))
    _take_headers(out)
    includes = [out, ggml / "include", ggml / "src", ggml / "src" / "ggml-cuda"]
    common = [*(f"-I{folder}" for folder in includes), *(f"-D{name}" for name in DEFINES)]
    gencode = f"-gencode=arch=compute_{architecture},code=sm_{architecture}"
    cuda = [
        *CUDA_FLAGS,
        gencode,
        "-include",
        str(out / "instances.h"),
        *common,
        *(f"-D{name}" for name in CUDA_DEFINES),
    ]
    host = ["-O2", *common]
    tasks = {
        **{f"attention{part}": (HERE / "attention.cu", [*cuda, f"-DPART={part}"]) for part in (256, 128, 0)},
        **{name: (ggml / "src" / "ggml-cuda" / f"{name}.cu", cuda) for name in CUDA},
        **{name: (source / path, ["-O0", *common]) for name, path in PROGRAMS.items() if name not in leave},
        **{name: (ggml / "src" / name, host) for name in BASE},
        "left_out": (HERE / "left_out.cpp", host),
    }
    by_file: dict[str, float] = {}

    def compile_one(name: str) -> None:
        path, flags = tasks[name]
        started = time.monotonic()
        target = out / f"{name}.o"
        if not target.is_file():  # a build that was cut off goes on
            partial = out / f"{name}.partial.o"
            _run(["nvcc", *flags, "-c", str(path), "-o", str(partial)])
            partial.rename(target)
            print(f"compiled {name}", file=sys.stderr, flush=True)
        by_file[name] = time.monotonic() - started

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(compile_one, tasks))  # in this order
    shared = [out / f"{name}.o" for name in tasks if name not in PROGRAMS]
    programs = {name: out / name for name in PROGRAMS if name in tasks}
    objects = [*shared, *(out / f"{name}.o" for name in programs)]
    missing = stubs(symbols(objects, "-u"), symbols(objects, "--defined-only"))
    (out / "stubs.s").write_text(assembler(missing))
    _run(["g++", "-c", str(out / "stubs.s"), "-o", str(out / "stubs.o")])
    shared.append(out / "stubs.o")
    for name, program in programs.items():
        _run(["nvcc", *map(str, shared), str(out / f"{name}.o"), "-ldl", "-lpthread", "-o", str(program)])
    flags = (*CUDA_FLAGS, gencode, *(f"-D{name}" for name in (*DEFINES, *CUDA_DEFINES)))
    return Built(programs, flags, time.monotonic() - begin, by_file, len(missing))


def stubs(undefined: Iterable[str], defined: Iterable[str]) -> list[str]:
    """Undefined symbols of llama.cpp's and cuBLAS's, as sorted names."""
    known = set(defined)
    return sorted(name for name in set(undefined) if name not in known and OURS.search(name))


def assembler(missing: Sequence[str]) -> str:
    """A function for each symbol, which calls left_out with its name; x86-64."""
    lines = ['.section .note.GNU-stack,"",@progbits', ".text"]
    for i, name in enumerate(missing):
        lines += [f".globl {name}", f".type {name},@function", f"{name}:", f"leaq .L{i}(%rip), %rdi",
                  "andq $-16, %rsp", "call left_out@PLT"]  # fmt: skip
    lines.append(".section .rodata")
    lines += [f'.L{i}: .asciz "{name}"' for i, name in enumerate(missing)]
    return "\n".join(lines) + "\n"


def symbols(objects: Sequence[Path], which: str) -> set[str]:
    """Names that object files define or lack, as `nm` has them."""
    listed = _run(["nm", which, "--format=posix", *map(str, objects)])
    return {line.split()[0] for line in listed.splitlines() if len(line.split()) > 1}


def needed(source: Path) -> list[Path]:
    """The files of llama.cpp that the build reads, relative to `source`: all headers, and the sources above."""
    ggml = source / "ggml"
    found = [ggml / "src" / name for name in BASE] + [ggml / "src" / "ggml-cuda" / f"{name}.cu" for name in CUDA]
    for folder in ("include", "src", "src/ggml-cpu", "src/ggml-cuda", "src/ggml-cuda/vendors"):
        found += [path for path in (ggml / folder).iterdir() if path.suffix in (".h", ".cuh")]
    found += [source / path for path in PROGRAMS.values() if not path.is_absolute()]
    found += [source / "LICENSE"]
    return sorted(path.relative_to(source) for path in found)


def _take_headers(out: Path) -> None:
    """Copy cuBLAS's headers where nvcc has none of its own: PyTorch's packages bring them."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise BuildError("there is no nvcc")
    folders = [
        Path(nvcc).resolve().parent.parent / "include",
        Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "include"),
    ]
    packages = [
        Path(folder) for folder in (*site.getsitepackages(), *os.environ.get("PYTHONPATH", "").split(":")) if folder
    ]
    folders += [folder / "nvidia" / part / "include" for folder in packages for part in ("cu13", "cublas")]
    for folder in folders:
        if all((folder / name).is_file() for name in HEADERS):
            for name in HEADERS:
                shutil.copyfile(folder / name, out / name)
            return
    raise BuildError("no cublas_v2.h: neither beside nvcc nor in a Python package (nvidia-cublas)")


def _run(command: Sequence[str]) -> str:
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise BuildError(f"{' '.join(command[:1])} ... {command[-3]}: {(found.stderr or found.stdout)[-3000:]}")
    return found.stdout
