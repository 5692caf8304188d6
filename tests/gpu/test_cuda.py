"""The card as it is: results, guard zones, faults, and times that physics allows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.runner import KernelFault, Runner
from specforge.backend.worker import Worker, WorkerTimeout
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.stopping import StopRule
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.verify.example import Example

pytestmark = pytest.mark.gpu

SOURCE = r"""
extern "C" __global__ void saxpy(const float* x, const float* y, float* out, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = a * x[i] + y[i];
}
extern "C" __global__ void past_end(const float* x, const float* y, float* out, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) out[i] = 1.0f;
}
extern "C" __global__ void before_start(const float* x, const float* y, float* out, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i - 2] = 1.0f;
}
extern "C" __global__ void changes_input(float* x, const float* y, float* out, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = a * x[i] + y[i];
  if (i == 5) x[i] = 77.0f;
}
extern "C" __global__ void half_done(const float* x, const float* y, float* out, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n / 2) out[i] = a * x[i] + y[i];
}
extern "C" __global__ void illegal(const float* x, const float* y, float* out, float a, int n) {
  out[(1ll << 40) + threadIdx.x] = x[0];
}
extern "C" __global__ void trap(const float* x, const float* y, float* out, float a, int n) { __trap(); }
extern "C" __global__ void endless(const float* x, const float* y, float* out, float a, int n) {
  while (*(volatile const float*)x == *(volatile const float*)x) {}
}
extern "C" __global__ void shared(const float* x, const float* y, float* out, float a, int n) {
  extern __shared__ float tile[];
  for (int i = threadIdx.x; i < n; i += blockDim.x) tile[n - 1 - i] = a * x[i] + y[i];
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = tile[n - 1 - i];
}
__device__ int calls;
extern "C" __global__ void honest_once(const float* x, const float* y, float* out, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n && calls == 0) out[i] = a * x[i] + y[i];
  if (i == n - 1) calls = 1;
}
__device__ float memory[1 << 16];
extern "C" __global__ void remembers(const float* x, const float* y, float* out, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  if (memory[i] == 0.0f) memory[i] = a * x[i] + y[i];
  out[i] = memory[i];
}
extern "C" __global__ void copy(const float4* x, const float4* y, float4* out, float a, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n / 4; i += gridDim.x * blockDim.x) out[i] = x[i];
}
"""
REFERENCE = """
def reference(*, x, y):
    return {"out": 3.0 * x + y}
"""
COPY_REFERENCE = """
def reference(*, x):
    return {"out": x}
"""
NORMAL = ("normal",)


def plan_saxpy(
    entry: str, n: int, reference: str = "", *, shared: int = 0, block: int = 256, cold: bool = True
) -> Plan:
    residency = "cold" if cold else "hot"
    buffers = (
        BufferPlan("x", (n,), "f32", "in", NORMAL, residency, ()),
        BufferPlan("y", (n,), "f32", "in", NORMAL, "hot", ()),
        BufferPlan("out", (n,), "f32", "out", NORMAL, residency, ()),
    )
    grid = (1 if shared else -(-n // block), 1, 1)
    launch = LaunchPlan(entry, grid, (block, 1, 1), shared, ("x", "y", "out", 3.0, n))
    tolerance = {"out": Tolerance(False, relative=1e-5, absolute=1e-5)}
    return Plan("test/saxpy", reference, {}, {}, buffers, (launch,), 12.0 * n, 2.0 * n, n, tolerance)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    from cuda.core import Device, Program, ProgramOptions

    device = Device(0)
    device.set_current()
    code = Program(SOURCE, "c++", ProgramOptions(arch=f"sm_{device.arch}")).compile("cubin").code
    path = tmp_path_factory.mktemp("cubin") / "test.cubin"
    path.write_bytes(code)
    return str(path)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reference")
    texts = {"saxpy": REFERENCE, "copy": COPY_REFERENCE}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return {name: str(folder / f"{name}.py") for name in texts}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker("cuda:0") as started:
        yield started


def run(runner: Runner, payload: tuple[Plan, str, int]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    plan, path, offset = payload
    rng = np.random.default_rng(1)
    inputs = {b.name: rng.standard_normal(b.shape).astype(np.float32) for b in plan.buffers if b.role == "in"}
    done = runner.run(plan, path, inputs, offset=offset)
    return done.outputs["out"], (np.float32(3) * inputs["x"] + inputs["y"]), done.violations


def name_of(runner: Runner, _: None) -> str:
    return runner.name


def test_name_and_uuid(worker: Worker) -> None:
    assert worker.call(name_of, None, timeout=60).startswith("cuda:0 NVIDIA")


@pytest.mark.parametrize("offset", [0, 16, 240])
@pytest.mark.parametrize("n", [1, 255, 256, 100_001])
def test_results(worker: Worker, binary: str, n: int, offset: int) -> None:
    got, want, violations = worker.call(run, (plan_saxpy("saxpy", n), binary, offset), timeout=60)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert violations == ()


def test_dynamic_shared_memory_beyond_48_kib(worker: Worker, binary: str) -> None:
    n = 20_000
    got, want, violations = worker.call(run, (plan_saxpy("shared", n, shared=4 * n), binary, 0), timeout=60)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert violations == ()


def test_unwritten_elements_stay_poisoned(worker: Worker, binary: str) -> None:
    got, _, _ = worker.call(run, (plan_saxpy("half_done", 1000), binary, 0), timeout=60)
    assert (got[500:].view(np.uint32) == 0xFFFFFFFF).all()
    assert np.isfinite(got[:500]).all()


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("past_end", "out: 4 bytes overwritten past its end, from byte 0 to byte 3"),
        ("before_start", "out: 8 bytes overwritten before its start, 1 to 8 bytes ahead"),
        ("changes_input", "x: input changed"),
    ],
)
@pytest.mark.parametrize("n", [1000, 5000])
def test_violations(worker: Worker, binary: str, entry: str, text: str, n: int) -> None:
    _, _, violations = worker.call(run, (plan_saxpy(entry, n), binary, 16), timeout=60)
    assert any(text in violation for violation in violations), violations


@pytest.mark.parametrize(
    ("entry", "kind"), [("illegal", "illegal access"), ("trap", "trap"), ("missing", "launch refused")]
)
def test_faults_cost_one_task(worker: Worker, binary: str, entry: str, kind: str) -> None:
    with pytest.raises(KernelFault) as caught:
        worker.call(run, (plan_saxpy(entry, 1000), binary, 0), timeout=60)
    assert caught.value.kind == kind
    test_results(worker, binary, 255, 0)


def test_impossible_launch_is_refused(worker: Worker, binary: str) -> None:
    before = worker.pid
    with pytest.raises(KernelFault, match="launch refused"):
        worker.call(run, (plan_saxpy("saxpy", 10_000, block=2048), binary, 0), timeout=60)
    test_results(worker, binary, 255, 0)
    assert worker.pid == before or before is None


def test_hang_costs_one_task(worker: Worker, binary: str) -> None:
    with pytest.raises(WorkerTimeout):
        worker.call(run, (plan_saxpy("endless", 1000), binary, 0), timeout=3)
    test_results(worker, binary, 255, 0)


def task_for(plan: Plan, binary: str, **rule: float) -> MeasureTask:
    digest = hashlib.sha256(Path(binary).read_bytes()).hexdigest()
    return MeasureTask(plan, binary, digest, Example({}), 4.8e12, rule=StopRule(**rule))  # type: ignore[arg-type]


def test_measures_what_it_checked(worker: Worker, binary: str, references: dict[str, str]) -> None:
    n = 1 << 20
    seen = worker.call(measure_case, task_for(plan_saxpy("saxpy", n, references["saxpy"]), binary), timeout=120)
    assert seen.verified
    assert seen.refusal is None
    alone, among = seen.series["isolated"].median.value, seen.series["amortised"].median.value
    assert 1e-6 < among < alone
    assert seen.rotated_bytes >= 4 * 24e6
    assert seen.cold == "proven"
    assert seen.telemetry is not None
    assert seen.telemetry.reason is None


def test_small_cold_tensors_are_scrubbed_cold(worker: Worker, binary: str, references: dict[str, str]) -> None:
    seen = worker.call(measure_case, task_for(plan_saxpy("saxpy", 500, references["saxpy"]), binary), timeout=120)
    assert seen.verified
    assert seen.cold == "proven"
    assert seen.rotated_bytes >= 4 * 24e6


@pytest.mark.parametrize("entry", ["honest_once", "remembers"])
def test_a_kernel_that_cheats_after_the_check_is_found(
    worker: Worker, binary: str, references: dict[str, str], entry: str
) -> None:
    worker.restart()  # what a kernel keeps in its own globals must start empty
    seen = worker.call(
        measure_case, task_for(plan_saxpy(entry, 50_000, references["saxpy"], cold=False), binary), timeout=120
    )
    assert seen.before is not None
    assert seen.before.passed
    assert seen.after is not None
    assert seen.after.kind == "wrong"
    assert not seen.verified
    worker.restart()


def test_a_wrong_kernel_is_not_timed(worker: Worker, binary: str, references: dict[str, str]) -> None:
    seen = worker.call(measure_case, task_for(plan_saxpy("half_done", 5000, references["saxpy"]), binary), timeout=120)
    assert not seen.series
    assert seen.refusal is not None
    assert seen.before is not None
    assert seen.before.kind == "wrong"


def test_another_binary_is_refused(worker: Worker, binary: str, references: dict[str, str]) -> None:
    from specforge.backend.worker import TaskFailed

    task = MeasureTask(plan_saxpy("saxpy", 100, references["saxpy"]), binary, "0" * 64, Example({}), None)
    with pytest.raises(TaskFailed, match="SHA-256"):
        worker.call(measure_case, task, timeout=60)


def copy_plan(n: int, reference: str) -> Plan:
    buffers = (
        BufferPlan("x", (n,), "f32", "in", NORMAL, "cold", ()),
        BufferPlan("y", (4,), "f32", "in", NORMAL, "hot", ()),
        BufferPlan("out", (n,), "f32", "out", NORMAL, "cold", ()),
    )
    launch = LaunchPlan("copy", (132 * 8, 1, 1), (512, 1, 1), 0, ("x", "y", "out", 1.0, n))
    return Plan("test/copy", reference, {}, {}, buffers, (launch,), 8.0 * n, 1.0, n, {"out": Tolerance(True)})


def test_time_of_a_big_copy_is_plausible(worker: Worker, binary: str, references: dict[str, str]) -> None:
    plan = copy_plan(1 << 26, references["copy"])
    seen = worker.call(measure_case, task_for(plan, binary), timeout=240)
    assert seen.verified
    for mode, series in seen.series.items():
        assert series.stop.converged, mode
        rate = plan.bytes / series.median.value
        assert 0.3 * 3.35e12 < rate < 6e12, (mode, rate)
    assert seen.cold == "proven"
