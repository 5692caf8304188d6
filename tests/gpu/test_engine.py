"""The measuring engine on a card: its floors, its graphs, its chains, and whether cold is cold. `-s` prints figures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specforge.backend.cuda import CudaRunner
from specforge.backend.runner import Runner
from specforge.backend.worker import TaskFailed, Worker
from specforge.kernel.nvrtc import compile_source
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.floors import Floors, measure_floors
from specforge.measure.measurement import Measurement
from specforge.measure.series import Mode
from specforge.measure.stopping import StopRule
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.verify.example import Example

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
PEAK = 4.8e12
"""Bytes per second: no card that these tests know has a faster memory."""
SOURCE = r"""
#include "dependent.cuh"
__device__ unsigned long long now() {
  unsigned long long t;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
  return t;
}
__device__ void pause(unsigned ns) {
  unsigned long long start = now();
  while (now() - start < ns) {}
}
extern "C" __global__ void spin(const int* x, int* out, int ns) {
  pause(ns);
  if (threadIdx.x == 0) out[0] = x[0];
}
// Sums a row of 128 per warp: the weights need not wait for the link ahead, x does.
__device__ float row(const float* w, int i) {
  float4 v = ((const float4*)w)[i * 32 + threadIdx.x % 32];
  float sum = v.x + v.y + v.z + v.w;
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  return sum;
}
extern "C" __global__ void link_waits(const float* x, const float* w, float* out) {
  grid_let_next();
  int i = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  float sum = row(w, i);
  grid_wait();
  if (threadIdx.x % 32 == 0) out[i] = 0.5f * x[i] + sum;
}
extern "C" __global__ void link_hurries(const float* x, const float* w, float* out) {
  grid_let_next();
  int i = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  float given = ((volatile const float*)x)[i];
  float sum = row(w, i);
  pause(2000);
  if (threadIdx.x % 32 == 0) out[i] = 0.5f * given + sum;
}
extern "C" __global__ void link_waits_late(const float* x, const float* w, float* out) {
  grid_let_next();
  int i = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  float given = ((volatile const float*)x)[i];
  float sum = row(w, i);
  grid_wait();
  if (threadIdx.x % 32 == 0) out[i] = 0.5f * given + sum;
}
extern "C" __global__ void scale(const float* x, float* partial, int n) {
  grid_let_next();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) partial[i] = 3.0f * x[i];
}
extern "C" __global__ void add(const float* partial, const float* y, float* out, int n) {
  grid_wait();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) out[i] = partial[i] + y[i];
}
extern "C" __global__ void read(const float4* x, float* out, int n) {
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n / 4; i += gridDim.x * blockDim.x) {
    float4 v = x[i];
    sum += v.x + v.y + v.z + v.w;
  }
  if (sum == 12345.678f) out[1] = sum;
  if (blockIdx.x == 0 && threadIdx.x == 0) out[0] = x[0].x;
}
"""
REFERENCES = {
    "spin": "def reference(*, x):\n    return {'out': x}\n",
    "link": "def reference(*, x, w):\n    return {'out': 0.5 * x + w.sum(axis=1)}\n",
    "two": "def reference(*, x, y):\n    return {'out': 3.0 * x + y}\n",
    "read": "def reference(*, x):\n    return {'out': x[:1]}\n",
}
NORMAL = ("normal",)
CLOSE = {"out": Tolerance(False, relative=1e-4, absolute=1e-3)}
ALL: tuple[Mode, ...] = ("isolated", "amortised", "overlapped")


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


def measured(worker: Worker, plan: Plan, binary: str, modes: tuple[Mode, ...] = ALL, **more: Any) -> Measurement:
    digest = hashlib.sha256(Path(binary).read_bytes()).hexdigest()
    rule, by, bandwidth = StopRule(seconds=0.7), more.pop("by", measure_case), more.pop("bandwidth", PEAK)
    task = MeasureTask(plan, binary, digest, Example({}), bandwidth, modes=modes, rule=rule, **more)
    seen, spent = worker.call(timed, (by, task), timeout=120)
    show(plan, seen)
    print("  ms: " + ", ".join(f"{name} {1e3 * took:.1f} in {calls}" for name, (took, calls) in spent.items()))
    return seen  # type: ignore[no-any-return]


def timed(runner: Runner, work: tuple[Any, MeasureTask]) -> tuple[Measurement, dict[str, tuple[float, int]]]:
    """A measurement, and where its wall time went: seconds and calls by what was done, inner ones not in outer ones."""
    from specforge.backend import cuda, graph, stopwatch, telemetry
    from specforge.backend.device_case import DeviceCase
    from specforge.measure import case, course, stopping, timer

    places = [
        ("NVML open", telemetry.CardWatch, "__enter__"),
        ("NVML read", telemetry.CardWatch, "read"),
        ("NVML glance", telemetry.CardWatch, "glance"),
        ("prepare", cuda.CudaRunner, "prepare"),
        ("draw", case, "draw_inputs"),
        ("upload", DeviceCase, "upload"),
        ("fresh", DeviceCase, "replace"),
        ("reference", case, "answer"),
        ("outputs", DeviceCase, "outputs"),
        ("violations", DeviceCase, "violations"),
        ("poison", DeviceCase, "poison"),
        ("reset L2", cuda.CudaRunner, "reset_persisting_l2"),
        ("queue", stopwatch.Stopwatch, "time"),
        ("warm-up", stopping, "_warm_up"),
        ("statistics", stopping, "estimate_median"),
        ("shape", stopping, "describe"),
        ("graph", timer.Timer, "graph"),
        ("capture", graph, "captured"),
        ("isolated", course.Course, "isolated"),
        ("amortised", course.Course, "amortised"),
        ("overlapped", course.Course, "overlapped"),
    ]
    spent: dict[str, tuple[float, int]] = {}
    inside = [0.0]

    def watched(name: str, inner: Any) -> Any:
        def outer(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            inside.append(0.0)
            try:
                return inner(*arguments, **named)
            finally:
                whole = time.perf_counter() - began
                took, calls = spent.get(name, (0.0, 0))
                spent[name] = took + whole - inside.pop(), calls + 1
                inside[-1] += whole

        return outer

    def entered(name: str, inner: Any) -> Any:
        """Of a context manager: what it takes to come in."""

        @contextmanager
        def outer(*arguments: Any, **named: Any) -> Iterator[Any]:
            block = inner(*arguments, **named)
            entry = watched(name, block.__enter__)()
            try:
                yield entry
            finally:
                block.__exit__(None, None, None)

        return outer

    by, task = work
    with pytest.MonkeyPatch.context() as patch:
        for name, owner, attribute in places:
            wrap = entered if name in ("graph", "capture") else watched
            patch.setattr(owner, attribute, wrap(name, getattr(owner, attribute)))
        seen = watched("rest", by)(runner, task)
    return seen, spent


def show(plan: Plan, seen: Measurement) -> None:
    names = "+".join(launch.entry for launch in plan.launches)
    print(f"\n{names} {sum(b.nbytes for b in plan.buffers) / 1e6:.3f} MB, {seen.cold}, {seen.seconds:.2f} s")
    for name, series in [*seen.series.items(), *seen.launches.items()]:
        median, count = series.median, len(series.samples)
        share = (
            f"{100 * median.precision:.2f} % of {count} samples, {len(series.batches)} batches: {series.stop.reason}"
        )
        print(f"  {name:10} {median.value * 1e6:9.3f} us, {series.groups} groups a sample, {share}")
    for check in (seen.before, seen.after):
        if check is not None and not check.passed:
            print(f"  {check.kind}: {check.failure}")
    for note in (seen.refusal, *seen.notes, *(note for s in seen.series.values() for note in s.notes)):
        print(f"  note: {note}" if note else "", end="\n" if note else "")
    if seen.energy is not None:
        print(f"  energy: {seen.energy}")


def spin_plan(ns: int, references: dict[str, str]) -> Plan:
    buffers = (
        BufferPlan("x", (1,), "i32", "in", NORMAL, "hot", ()),
        BufferPlan("out", (1,), "i32", "out", NORMAL, "hot", ()),
    )
    launch = LaunchPlan("spin", (1, 1, 1), (32, 1, 1), 0, ("x", "out", ns))
    return Plan("test/spin", references["spin"], {}, {}, buffers, (launch,), 1.0, 1.0, 1, {"out": Tolerance(True)})


def link_plan(entry: str, references: dict[str, str], rows: int = 4096) -> Plan:
    buffers = (
        BufferPlan("x", (rows,), "f32", "in", NORMAL, "hot", ()),
        BufferPlan("w", (rows, 128), "f32", "in", NORMAL, "cold", ()),
        BufferPlan("out", (rows,), "f32", "out", NORMAL, "hot", ()),
    )
    launch = LaunchPlan(entry, (rows // 8, 1, 1), (256, 1, 1), 0, ("x", "w", "out"), dependent=True)
    work = 4.0 * rows * 130
    chain = {"x": "out"}
    return Plan("test/link", references["link"], {}, {}, buffers, (launch,), work, 1.0, 1, CLOSE, chain=chain)


def read_plan(n: int, references: dict[str, str], residency: str) -> Plan:
    buffers = (
        BufferPlan("x", (n,), "f32", "in", NORMAL, residency, ()),  # type: ignore[arg-type]
        BufferPlan("out", (1,), "f32", "out", NORMAL, "hot", ()),
    )
    blocks = max(1, min(132 * 4, n // 4 // 256))
    launch = LaunchPlan("read", (blocks, 1, 1), (256, 1, 1), 0, ("x", "out", n))
    return Plan("test/read", references["read"], {}, {}, buffers, (launch,), 4.0 * n, 1.0, 1, {"out": Tolerance(True)})


def test_floors(floors: Floors) -> None:
    print(f"\nevents {floors.event_overhead * 1e6:.3f} us; null kernel:", end="")
    print({mode: f"{seconds * 1e6:.3f} us" for mode, seconds in floors.null.items()})
    assert 0.2e-6 < floors.event_overhead < floors.null["isolated"] + 1e-6
    assert 1.5e-6 < floors.null["isolated"] < 6e-6
    assert 0.4e-6 < floors.null["amortised"] < 2e-6
    if "overlapped" in floors.null:
        assert floors.null["overlapped"] < floors.null["amortised"]


@pytest.mark.parametrize("ns", [5_000, 50_000, 1_000_000])
def test_a_kernel_that_spins(worker: Worker, binary: str, references: dict[str, str], floors: Floors, ns: int) -> None:
    seen = measured(worker, spin_plan(ns, references), binary, ("isolated", "amortised"))
    assert seen.verified
    assert seen.cold == "hot"
    for mode, series in seen.series.items():
        took = series.median.value - floors.null[mode]
        assert abs(took - ns * 1e-9) <= max(0.01 * ns * 1e-9, 1e-6), (mode, took)


def test_overlapping_links(worker: Worker, binary: str, references: dict[str, str]) -> None:
    seen = measured(worker, link_plan("link_waits", references), binary)
    assert seen.verified
    medians = {mode: series.median.value for mode, series in seen.series.items()}
    assert medians["overlapped"] < medians["amortised"] < medians["isolated"]
    small = measured(worker, link_plan("link_waits", references, rows=8), binary)
    assert small.verified
    assert small.series["overlapped"].median.value < small.series["amortised"].median.value


@pytest.mark.parametrize("entry", ["link_hurries", "link_waits_late"])
def test_a_link_that_does_not_wait_is_found(
    worker: Worker, binary: str, references: dict[str, str], entry: str
) -> None:
    seen = measured(worker, link_plan(entry, references), binary)
    assert seen.before is not None
    assert seen.before.passed
    assert seen.after is not None
    assert seen.after.kind == "wrong"
    assert "grid_wait()" in (seen.after.failure or "")
    assert "overlapped" not in seen.series
    assert not seen.verified


@pytest.mark.parametrize("n", [1 << 14, 1 << 21])
def test_cold_is_not_hot(worker: Worker, binary: str, references: dict[str, str], n: int) -> None:
    """A small tensor that is scrubbed away, and one whose copies displace each other."""
    modes: tuple[Mode, ...] = ("isolated", "amortised")
    cold = measured(worker, read_plan(n, references, "cold"), binary, modes)
    hot = measured(worker, read_plan(n, references, "hot"), binary, modes)
    assert (cold.cold, hot.cold) == ("proven", "hot")
    for mode in modes:
        assert cold.series[mode].median.value > 1.05 * hot.series[mode].median.value, mode


def measure_without_displacing(runner: Runner, task: MeasureTask) -> Measurement:
    """As `measure_case`, by an engine that takes the L2 for tiny: its cold copies all stay in it."""
    assert isinstance(runner, CudaRunner)
    real, runner.l2_bytes = runner.l2_bytes, 1024
    try:
        return measure_case(runner, task)
    finally:
        runner.l2_bytes = real


def test_hot_is_not_proven_cold(worker: Worker, binary: str, references: dict[str, str]) -> None:
    plan = read_plan(1 << 21, references, "cold")  # two copies of 8 MB
    honest = measured(worker, plan, binary, ("amortised",))
    most = 1.05 * plan.bytes / honest.series["amortised"].median.value
    print(f"  honest {most / 1.05e12:.3f} TB/s")
    planted = measured(worker, plan, binary, ("amortised",), by=measure_without_displacing, bandwidth=most)
    print(f"  planted {plan.bytes / planted.series['amortised'].median.value / 1e12:.3f} TB/s")
    assert planted.cold == "unproven"
    assert any("memory gives" in note for note in planted.notes)
    again = measured(worker, plan, binary, ("amortised",), bandwidth=most)
    assert again.cold == "proven"


def test_launches_one_by_one(worker: Worker, binary: str, references: dict[str, str]) -> None:
    n = 1 << 18
    buffers = (
        BufferPlan("x", (n,), "f32", "in", NORMAL, "cold", ()),
        BufferPlan("y", (n,), "f32", "in", NORMAL, "hot", ()),
        BufferPlan("partial", (n,), "f32", "scratch", NORMAL, "hot", ()),
        BufferPlan("out", (n,), "f32", "out", NORMAL, "hot", ()),
    )
    size = ((256, 1, 1), (256, 1, 1), 0)
    first = LaunchPlan("scale", *size, ("x", "partial", n))
    second = LaunchPlan("add", *size, ("partial", "y", "out", n), dependent=True)
    plan = Plan("test/two", references["two"], {}, {}, buffers, (first, second), 12.0 * n, 2.0 * n, 1, CLOSE)
    seen = measured(worker, plan, binary, ("isolated", "amortised"), energy=0.5)
    assert seen.verified
    assert list(seen.launches) == ["scale", "add"]
    whole = seen.series["isolated"].median.value
    parts = [series.median.value for series in seen.launches.values()]
    assert max(parts) < whole < sum(parts) + 1e-6
    print(f"  whole {whole * 1e6:.2f} us, parts {sum(parts) * 1e6:.2f} us")


def by_position(runner: Runner, work: tuple[Plan, str]) -> list[str]:
    """Medians by place in the queue of launches, each between two events, in many ways of queueing them."""
    from functools import partial

    from specforge.measure.residency import plan_residency

    assert isinstance(runner, CudaRunner)
    plan, binary = work
    residency = plan_residency(plan, runner.l2_bytes, runner.available_bytes())
    case = runner.prepare(plan, binary, copies=residency.copies, spare=residency.total)
    case.upload({b.name: np.ones(b.shape, b.element.numpy()) for b in plan.buffers if b.role == "in"})
    found = []

    def told(name: str, rows: list[list[float]]) -> None:
        middle = np.median(rows, axis=0) * 1e6
        base = float(np.median(middle))
        first = " ".join(f"{value:.2f}" for value in middle[:12])
        last = " ".join(f"{value:.2f}" for value in middle[-16:])
        found.append(f"  {name:44} median {base:.3f}; first {first}; last {last}")

    def settle() -> None:
        case.scrub(residency.total or 4 * runner.l2_bytes, 0)
        case.warm()
        case.launch(0)

    def take(count: int, *, turning: bool, **how: Any) -> list[float]:
        works = [partial(case.launch, 1 + number if turning else 0) for number in range(count)]
        return runner.time(works, **how)

    settle()
    case.wait()
    for count in (8, 50, 100):
        for turning in (True, False):
            rows = [take(count, turning=turning, lead=settle) for _ in range(40)]
            told(f"{count} in one queue, {'rotating' if turning else 'the same copy'}", rows)
    for trail in (1, 12, 30):
        rows = [take(50 + trail, turning=True, lead=settle)[:50] for _ in range(40)]
        told(f"50 in one queue, {trail} more behind them", rows)
    for together in (1, 4, 6, 8, 12, 16):
        rows = [take(48, turning=True, lead=partial(case.launch, 0), together=together) for _ in range(40)]
        told(f"48, {together} in one queue, one ahead of each", rows)
    for _ in range(2):
        runner.wait()
        time.sleep(0.01)
        rows = [take(50, turning=True, ahead=lambda _: runner.launch_empty()) for _ in range(40)]
        told("50 in one queue, an empty kernel ahead of each", rows)
    empty = [runner.time([runner.launch_empty] * 50, lead=runner.launch_empty) for _ in range(40)]
    told("50 empty kernels", empty)
    nothing = [runner.time([lambda: None] * 50, lead=runner.launch_empty) for _ in range(40)]
    told("50 times nothing", nothing)
    return found


@pytest.mark.parametrize("n", [1 << 14, 1 << 22])
def test_place_in_the_queue(worker: Worker, binary: str, references: dict[str, str], n: int) -> None:
    """Says where in a batch times differ, and what removes it; asserts nothing."""
    print(f"\nread {4 * n / 1e6:.1f} MB by place in the queue, us")
    lines = worker.call(by_position, (read_plan(n, references, "cold"), binary), timeout=100)
    print("\n".join(lines))


def changed(runner: Runner, work: tuple[Plan, str]) -> list[tuple[str, ...]]:
    """Violations of a case of many copies as uploaded, and after one byte of one copy was changed."""
    assert isinstance(runner, CudaRunner)
    plan, binary = work
    found = []
    for turn in (None, 0, 1, 6):
        case = runner.prepare(plan, binary, copies={"x": 7})
        case.upload({"x": np.ones(plan.buffer("x").shape, np.float32)})
        place = case.layout.places["x"]
        if turn is not None:
            runner._memory.fill(place.address(turn) + place.plan.nbytes - 1, 1, 0x55)
        found.append(case.violations(7))
    return found


@pytest.mark.parametrize("n", [4, 1001, 1 << 20])
def test_a_change_in_any_copy_is_found(worker: Worker, binary: str, references: dict[str, str], n: int) -> None:
    none, *some = worker.call(changed, (read_plan(n, references, "cold"), binary), timeout=60)
    assert none == ()
    for one in some:
        assert len(one) == 1
        assert "input changed in 1 bytes" in one[0]


def many_graphs(runner: Runner, count: int) -> tuple[int, int]:
    """Memory of the card that is free before and after capturing and replaying many graphs."""
    assert isinstance(runner, CudaRunner)

    def enqueue() -> None:
        for _ in range(256):
            runner.launch_empty()

    def one() -> None:
        with runner.captured(enqueue) as replay:
            replay()

    one()
    before = runner.available_bytes()
    for _ in range(count):
        one()
    return before, runner.available_bytes()


def test_graphs_leave_nothing_behind(worker: Worker) -> None:
    before, after = worker.call(many_graphs, 300, timeout=60)
    print(f"\nfree memory {before / 2**20:.0f} MiB, after 300 graphs {after / 2**20:.0f} MiB")
    assert before - after < 16 << 20


def broken_capture(runner: Runner, _: None) -> float:
    """The time of an empty kernel after a capture that ended in an exception."""
    assert isinstance(runner, CudaRunner)

    def enqueue() -> None:
        runner.launch_empty()
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), runner.captured(enqueue):
            pass
    return runner.time([runner.launch_empty] * 3)[1]


def test_a_broken_capture_leaves_the_stream_usable(worker: Worker) -> None:
    assert 0 < worker.call(broken_capture, None, timeout=60) < 1e-3


def overfull(runner: Runner, count: int) -> list[float]:
    """Far more behind a held stream than the driver's queue takes."""
    from specforge.backend import stopwatch

    assert isinstance(runner, CudaRunner)
    before, stopwatch.PATIENCE = stopwatch.PATIENCE, 1.0
    try:
        return runner.time([runner.launch_empty] * count)
    finally:
        stopwatch.PATIENCE = before


def test_a_full_queue_is_an_error_and_no_hang(worker: Worker) -> None:
    told = ""
    try:
        seconds = worker.call(overfull, 5000, timeout=60)
        print(f"\n5000 launches fit into the queue: {np.median(seconds) * 1e6:.2f} us each")
    except TaskFailed as failed:
        told = failed.summary
        print(f"\n{told}")
    assert not told or "queue is full" in told
    assert worker.call(measure_floors, None, timeout=60).null["isolated"] < 6e-6


def persisting_part(runner: Runner, task: MeasureTask) -> tuple[int, int, int]:
    """The persisting part of L2: as a neighbour set it, while a case is measured, and afterwards."""
    from cuda.bindings import driver

    assert isinstance(runner, CudaRunner)
    limit = driver.CUlimit.CU_LIMIT_PERSISTING_L2_CACHE_SIZE
    driver.cuCtxSetLimit(limit, 4 << 20)
    before = int(driver.cuCtxGetLimit(limit)[1])
    with runner.without_persisting_l2():
        inside = int(driver.cuCtxGetLimit(limit)[1])
    measure_case(runner, task)
    after = int(driver.cuCtxGetLimit(limit)[1])
    driver.cuCtxSetLimit(limit, 0)
    return before, inside, after


def test_the_persisting_part_of_l2_is_given_back(worker: Worker, binary: str, references: dict[str, str]) -> None:
    digest = hashlib.sha256(Path(binary).read_bytes()).hexdigest()
    plan = read_plan(1 << 14, references, "cold")
    task = MeasureTask(plan, binary, digest, Example({}), PEAK, modes=("isolated",), rule=StopRule(seconds=0.2))
    before, inside, after = worker.call(persisting_part, task, timeout=60)
    print(f"\npersisting L2: {before}, {inside}, {after} bytes")
    assert inside == 0
    assert before == after > 0
