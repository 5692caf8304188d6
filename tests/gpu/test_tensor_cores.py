"""The card's tensor cores against the emulator's exact model, bit for bit, on operands that tell models apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.emulator.compile import compile_host, find_host_compiler
from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.kernel.nvrtc import compile_source, load_toolchain
from specforge.parity.bits import compare_bits
from specforge.spec.geometry import Plan
from tests.parity.tensor_core_cases import CLASSES, ENTRIES, SOURCE, TYPES, Operands, draw, plan_of

pytestmark = pytest.mark.gpu

INCLUDE = Path(__file__).parents[2] / "kernels" / "include"
COUNT = 2000
"""Products of 16 x 8 elements for each kind of operands: 256,000 elements."""


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    from cuda.core import Device

    capability = int(Device(0).arch)
    folder = tmp_path_factory.mktemp("tensor-cores")
    done = compile_source(SOURCE, folder / "many.cu", f"sm_{capability}", (INCLUDE,))
    assert done.cubin is not None, done.log
    cubin = folder / "many.cubin"
    cubin.write_bytes(done.cubin)
    library = compile_host(
        SOURCE,
        ENTRIES,
        include_dirs=[INCLUDE],
        cuda_include_dirs=load_toolchain().include_dirs,
        cache_dir=folder,
        compiler=find_host_compiler(),
        options=(f"-DSPECFORGE_PARITY={capability}",),
    )
    return str(cubin), str(library)


@pytest.fixture(scope="module")
def workers() -> Iterator[tuple[Worker, Worker]]:
    with Worker("cuda:0") as card, Worker("emulator") as emulator:
        yield card, emulator


def run(runner: Runner, payload: tuple[Plan, str, Operands]) -> np.ndarray:
    plan, path, inputs = payload
    return runner.run(plan, path, inputs).outputs["d"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", CLASSES)
def test_every_bit(workers, binaries, kind, dtype):
    plan, inputs = plan_of(dtype, COUNT), draw(kind, dtype, 0, COUNT)
    card, emulator = (
        worker.call(run, (plan, path, inputs), timeout=120) for worker, path in zip(workers, binaries, strict=True)
    )
    (difference,) = compare_bits(plan, {"d": card}, {"d": emulator})
    assert difference.unequal == 0, difference
