"""Kernels built for parity on the CPU, from sources and as shipped."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.emulator.compile import compile_host, find_host_compiler
from specforge.backend.emulator.module import EmulatedModule
from specforge.kernel.nvrtc import load_toolchain

INCLUDE = Path(__file__).parents[2] / "kernels" / "include"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    base = tmp_path_factory.getbasetemp()
    return (base.parent if hasattr(request.config, "workerinput") else base) / "parity-cache"


@pytest.fixture(scope="session")
def build(cache_dir: Path) -> Callable[..., EmulatedModule]:
    """A source for one compute capability, as a module; `options` of the host compiler come last."""

    def build(
        source: str, entries: Sequence[str], capability: int = 90, options: tuple[str, ...] = ()
    ) -> EmulatedModule:
        return EmulatedModule(
            compile_host(
                '#include "specforge.cuh"\n' + source,
                entries,
                include_dirs=[INCLUDE],
                cuda_include_dirs=load_toolchain().include_dirs,
                cache_dir=cache_dir,
                compiler=find_host_compiler(),
                options=(f"-DSPECFORGE_PARITY={capability}", *options),
            )
        )

    return build


@pytest.fixture(scope="session")
def launch() -> Callable[..., None]:
    def launch(
        module: EmulatedModule, entry: str, *arguments: np.ndarray | int, grid: int = 1, block: int = 32
    ) -> None:
        values = [int(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int(a) for a in arguments]
        module.launch(entry, (grid, 1, 1), (block, 1, 1), 0, values)

    return launch
