"""The collectives of mma.cuh on the card, against numpy: the layout, and sums as exact as kernels count upon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.kernel.nvrtc import compile_source
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "backend" / "emulator" / "mma.cu"
WRAPPED = """
extern "C" __global__ void {name}_out(const {type}* a, const {type}* b, float* d) {{
  for (int i = threadIdx.x; i < 128; i += 32) d[i] = 0.0f;
  __syncwarp();
  multiply(a, b, d);
}}
"""
TYPES = {"bf16": (ml_dtypes.bfloat16, "__nv_bfloat16"), "f16": (np.float16, "__half")}
NORMAL = ("normal",)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    from cuda.core import Device

    text = '#include "specforge.cuh"\n' + SOURCE.read_text()
    text += "".join(WRAPPED.format(name=name, type=ctype) for name, (_, ctype) in TYPES.items())
    text += WRAPPED.format(name="e4m3", type="unsigned char")
    done = compile_source(text, SOURCE, f"sm_{Device(0).arch}", (ROOT / "kernels" / "include",))
    assert done.cubin is not None, done.log
    path = tmp_path_factory.mktemp("cubin") / "mma.cubin"
    path.write_bytes(done.cubin)
    return str(path)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker("cuda:0") as started:
        yield started


def run(runner: Runner, payload: tuple[Plan, str, dict[str, np.ndarray]]) -> np.ndarray:
    plan, path, inputs = payload
    (name,) = (buffer.name for buffer in plan.buffers if buffer.role == "out")
    return runner.run(plan, path, inputs).outputs[name]


def plan_of(entry: str, shapes: dict[str, tuple[tuple[int, ...], str]]) -> Plan:
    *_, out = shapes
    buffers = tuple(
        BufferPlan(name, shape, dtype, "out" if name == out else "in", NORMAL, "hot", ())
        for name, (shape, dtype) in shapes.items()
    )
    launch = LaunchPlan(entry, (1, 1, 1), (32, 1, 1), 0, tuple(shapes))
    return Plan("test/mma", "", {}, {}, buffers, (launch,), 1.0, 1.0, 1, {out: Tolerance(True)})


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("spread", [0, 12])
def test_multiply(worker: Worker, binary: str, dtype: str, spread: int) -> None:
    draw = np.random.default_rng(spread)
    a, b = (
        (draw.normal(size=shape) * 2.0 ** draw.integers(-spread, spread + 1, shape)).astype(TYPES[dtype][0])
        for shape in [(16, 16), (16, 8)]
    )
    plan = plan_of(f"{dtype}_out", {"a": ((16, 16), dtype), "b": ((16, 8), dtype), "d": ((16, 8), "f32")})
    got = worker.call(run, (plan, binary, {"a": a, "b": b}), timeout=60)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    size = np.abs(wide_a) @ np.abs(wide_b)
    assert (np.abs(got - wide_a @ wide_b) <= 5 * 2.0**-24 * size).all()


def test_multiply_e4m3(worker: Worker, binary: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole numbers exactly, anything within 2^-13 of the sum of magnitudes; how far off the card is gets printed."""
    draw = np.random.default_rng(2)
    shapes = {"a": ((16, 32), "u8"), "b": ((32, 8), "u8"), "d": ((16, 8), "f32")}
    plan = plan_of("e4m3_out", shapes)
    small = np.array([0x00, 0x38, 0xB8, 0x40, 0xC0], np.uint8)  # 0, 1, -1, 2, -2
    found = {}
    for name, codes in {"small": small, "finite": np.delete(np.arange(255, dtype=np.uint8), 0x7F)}.items():
        a, b = (draw.choice(codes, shape) for shape in [(16, 32), (32, 8)])
        wide_a, wide_b = (x.view(ml_dtypes.float8_e4m3fn).astype(np.float64) for x in (a, b))
        got = worker.call(run, (plan, binary, {"a": a, "b": b}), timeout=60)
        size = np.abs(wide_a) @ np.abs(wide_b)
        found[name] = np.abs(got - wide_a @ wide_b) / np.maximum(size, 2.0**-20)
    with capsys.disabled():
        print(f"\nmma_m16n8k32_e4m3: off by {found['finite'].max() * 2**24:.3g} x 2^-24 of the sum of magnitudes")
    assert (found["small"] == 0).all()
    assert (found["finite"] <= 2.0**-13).all()


def test_transpose_is_exact(worker: Worker, binary: str) -> None:
    x = np.random.default_rng(1).integers(0, 2**16, (8, 8)).astype(np.uint16)
    plan = plan_of("transpose", {"x": ((32,), "u32"), "y": ((32,), "u32")})
    got = worker.call(run, (plan, binary, {"x": x.view(np.uint32).reshape(32)}), timeout=60)
    np.testing.assert_array_equal(got.view(np.uint16).reshape(8, 8), x.T)
