from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda.pathfinder import find_nvidia_header_directory

from specforge.backend.emulator.compile import HostCompiler, compile_host, find_host_compiler
from specforge.backend.emulator.module import EmulatedModule
from specforge.backend.emulator.sanitize import Sanitize

INCLUDE = Path(__file__).parents[3] / "kernels" / "include"
COMPILERS = [name for name in ("g++", "clang++") if shutil.which(name)] or ["g++"]


class Kernels:
    """A compiled source whose launches take numpy arrays, ints (C int) and floats (C float)."""

    def __init__(self, module: EmulatedModule) -> None:
        self.module = module

    def launch(
        self, entry: str, *arguments: Any, grid: Any = 1, block: Any = 32, shared: int = 0, schedule: int = 0
    ) -> None:
        self.module.launch(
            entry, _triple(grid), _triple(block), shared, [_argument(a) for a in arguments], schedule=schedule
        )


def _triple(value: int | Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (value, 1, 1) if isinstance(value, int) else (*value, 1, 1)[:3]
    return x, y, z


def _argument(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return int(value.ctypes.data)
    return ctypes.c_int(value) if isinstance(value, int) else ctypes.c_float(value)


@pytest.fixture(scope="session")
def cuda_include_dirs() -> list[Path]:
    return [Path(str(find_nvidia_header_directory(name))) for name in ("cudart", "cccl")]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    base = tmp_path_factory.getbasetemp()
    parallel = hasattr(request.config, "workerinput")  # under xdist the workers share one cache
    return (base.parent if parallel else base) / "emulator-cache"


@pytest.fixture(scope="session", params=COMPILERS)
def compiler(request: pytest.FixtureRequest) -> HostCompiler:
    return find_host_compiler(request.param)


@pytest.fixture(scope="session", params=["off", "shadow"])
def sanitize(request: pytest.FixtureRequest) -> Sanitize:
    return request.param


@pytest.fixture(scope="session")
def build(
    compiler: HostCompiler, sanitize: Sanitize, cache_dir: Path, cuda_include_dirs: list[Path]
) -> Callable[[str, Sequence[str]], Kernels]:
    def build(source: str, entries: Sequence[str]) -> Kernels:
        library = compile_host(
            '#include "specforge.cuh"\n#line 1 "kernel.cu.j2"\n' + source,
            entries,
            include_dirs=[INCLUDE],
            cuda_include_dirs=cuda_include_dirs,
            cache_dir=cache_dir,
            compiler=compiler,
            sanitize=sanitize,
        )
        return Kernels(EmulatedModule(library))

    return build
