"""What the engine's tests share: its kernels compiled, their references, a worker on the card, its floors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from specforge.backend.worker import Worker
from specforge.kernel.nvrtc import compile_source
from specforge.measure.floors import Floors, measure_floors
from tests.gpu.engine.plans import REFERENCES, SOURCE

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    from cuda.core import Device

    text = '#include "specforge.cuh"\n' + SOURCE
    done = compile_source(text, ROOT / "engine.cu", f"sm_{Device(0).arch}", (ROOT / "kernels" / "include",))
    assert done.cubin is not None, done.log
    path = tmp_path_factory.mktemp("engine") / "engine.cubin"
    path.write_bytes(done.cubin)
    return str(path)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reference")
    for name, text in REFERENCES.items():
        (folder / f"{name}.py").write_text(text)
    return {name: str(folder / f"{name}.py") for name in REFERENCES}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker("cuda:0") as started:
        yield started


@pytest.fixture(scope="module")
def floors(worker: Worker) -> Floors:
    return worker.call(measure_floors, None, timeout=60)
