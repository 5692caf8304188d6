from __future__ import annotations

import numpy as np
import pytest

from specforge.backend.emulator.module import EmulationFault

SOURCE = r"""
template <int N> __device__ inline float block_total(float x) {
  __shared__ alignas(N * 4) float part[N];
  for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
  __syncthreads();
  float total = 0;
  for (int i = 0; i < N; ++i) total += part[i];
#ifndef FORGOTTEN
  __syncthreads();
#endif
  return total;
}
extern "C" __global__ void __launch_bounds__(4 * 32, 1) reduce(const float* __restrict__ x, float* y, int n) {
  __shared__ alignas(float4) float tile[128];
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[blockIdx.x * n + i];
  const float total = block_total<4>(sum), count = block_total<4>(1.0f);
  tile[threadIdx.x] = total / count;
  __syncthreads();
  if (threadIdx.x == 0) y[blockIdx.x] = tile[127] * count;
}
extern "C" __global__ void forgotten(const float* x, float* y) {  // reads its neighbour without a barrier
  __shared__ float s[128];
  s[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = s[(threadIdx.x + 1) % 128];
}
extern "C" __global__ void reused(const float* x, float* y) {  // writes again before everybody has read
  __shared__ float s[64];
  float v = x[threadIdx.x];
  for (int i = 0; i < 3; ++i) {
    s[threadIdx.x] = v;
    __syncthreads();
    v = s[(threadIdx.x + 32) % 64] + 1;
  }
  y[threadIdx.x] = v;
}
extern "C" __global__ void predicates(const int* x, int* y) {
  const int t = threadIdx.x, v = x[t];
  y[3 * t] = __syncthreads_or(v == 3);
  y[3 * t + 1] = __syncthreads_and(v >= 0);
  y[3 * t + 2] = __syncthreads_count(v == 5);
}
extern "C" __global__ void leavers(int* y, int stay) {  // threads that have exited are not waited for
  __shared__ int s[128];
  if (threadIdx.x >= stay) return;
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = s[stay - 1 - threadIdx.x];
}
extern "C" __global__ void indices(unsigned* y) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  unsigned* o = y + (block * blockDim.x * blockDim.y * blockDim.z + thread) * 6;
  o[0] = threadIdx.x, o[1] = threadIdx.y, o[2] = threadIdx.z, o[3] = blockIdx.x, o[4] = blockIdx.y, o[5] = blockIdx.z;
}
extern "C" __global__ void order(int* next, int* y) { if (threadIdx.x == 0) y[atomicAdd(next, 1)] = blockIdx.x; }
extern "C" __global__ void lanes_in_order(int* next, int* y) { y[atomicAdd(next, 1)] = threadIdx.x; }
extern "C" __global__ void uninitialised(float* y, int n) {
  __shared__ float fixed[8];
  DYNAMIC_SHARED(float, sized);
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[blockIdx.x * (n + 8) + i] = sized[i], sized[i] = 1;
  if (threadIdx.x < 8) y[blockIdx.x * (n + 8) + n + threadIdx.x] = fixed[threadIdx.x], fixed[threadIdx.x] = 1;
}
extern "C" __global__ void dynamic(const float* x, float* y) {
  DYNAMIC_SHARED(float4, rows);
  rows[threadIdx.x] = make_float4(x[threadIdx.x], 2, 3, 4);
  __syncthreads();
  const float4 v = rows[blockDim.x - 1 - threadIdx.x];
  y[threadIdx.x] = v.x + v.y + v.z + v.w;
}
extern "C" __global__ void overrun() { DYNAMIC_SHARED(char, bytes); bytes[37 + threadIdx.x * 8] = 1; }
extern "C" __global__ void lock(int* mutex, int* sum) {
  for (bool done = false; !done;) {
    if (atomicCAS(mutex, 0, 1) == 0) {
      const int old = *(volatile int*)sum;
      __nanosleep(20);  // others run here, and must stay out
      *(volatile int*)sum = old + 1;
      atomicExch(mutex, 0);
      done = true;
    }
  }
}
extern "C" __global__ void stack(int* y) {  // a deep frame on every stack at once
  volatile int big[4000];
  for (int i = 0; i < 4000; ++i) big[i] = i + threadIdx.x;
  __syncthreads();
  int sum = 0;
  for (int i = 0; i < 4000; i += 1000) sum += big[i];
  y[threadIdx.x] = sum;
}
extern "C" __global__ void trap_on(int bad) { if (threadIdx.x == bad) __trap(); __syncthreads(); }
extern "C" __global__ void assert_below(int limit) { assert(int(threadIdx.x) < limit && "in range"); }
"""
ENTRIES = [
    "reduce", "forgotten", "reused", "predicates", "leavers", "indices", "order", "lanes_in_order", "uninitialised",
    "dynamic", "overrun", "lock", "stack", "trap_on", "assert_below",
]  # fmt: skip
SCHEDULES = [0, 1, 2, 3, 1234567]


# What these kernels do wrong would end a sanitized launch; here it shall show in the result.
plain = pytest.mark.parametrize("sanitize", ["off"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def kernels(build):
    return build(SOURCE, ENTRIES)


@pytest.mark.parametrize("n", [1, 127, 128, 129, 1000])
def test_a_correct_reduction_is_the_same_under_every_schedule(kernels, n):
    x = np.random.default_rng(n).normal(size=(9, n)).astype(np.float32)
    results = []
    for schedule in SCHEDULES:
        y = np.full(9, np.nan, np.float32)
        kernels.launch("reduce", x, y, n, grid=9, block=128, schedule=schedule)
        results.append(y.tobytes())
        np.testing.assert_allclose(y, x.astype(np.float64).sum(1), atol=1e-4)
    assert len(set(results)) == 1


@plain
def test_a_reduction_that_reuses_shared_memory_without_a_barrier_goes_wrong(build):
    kernels = build("#define FORGOTTEN\n" + SOURCE, ENTRIES)
    x = np.random.default_rng(0).normal(size=(1, 500)).astype(np.float32)
    wrong = 0
    for schedule in SCHEDULES:
        y = np.zeros(1, np.float32)
        kernels.launch("reduce", x, y, 500, block=128, schedule=schedule)
        wrong += not np.allclose(y, x.sum(1), atol=1e-3)
    assert wrong


@plain
def test_a_missing_barrier_reads_poison(kernels):
    x = np.arange(128, dtype=np.float32)
    y = np.zeros_like(x)
    kernels.launch("forgotten", x, y, block=128)
    assert np.isnan(y[:127]).all()
    kernels.launch("forgotten", x, y, block=128, schedule=1)
    assert np.isnan(y[127])


@plain
def test_a_barrier_missing_before_reuse_shows_under_some_schedule(kernels):
    x = np.arange(64, dtype=np.float32)
    right = np.roll(x, 32) + 3
    outcomes = []
    for schedule in SCHEDULES:
        y = np.zeros_like(x)
        kernels.launch("reused", x, y, block=64, schedule=schedule)
        outcomes.append(np.array_equal(y, right))
    assert not all(outcomes)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_reducing_barriers(kernels, schedule):
    for values in ([3, 5, 5], [-1, 0, 1], [5, 5, 5]):
        x = np.resize(np.array(values, np.int32), 96)
        y = np.full((96, 3), -9, np.int32)
        kernels.launch("predicates", x, y, block=96, schedule=schedule)
        assert np.array_equal(y, np.tile([(x == 3).any(), (x >= 0).all(), (x == 5).sum()], (96, 1)))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("stay", [1, 31, 40, 128])
def test_threads_that_exited_are_not_waited_for(kernels, stay, schedule):
    y = np.full(128, -1, np.int32)
    kernels.launch("leavers", y, stay, block=128, schedule=schedule)
    assert y[:stay].tolist() == list(range(stay))[::-1]
    assert set(y[stay:]) <= {-1}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_block_and_thread_runs_once_with_its_own_index(kernels, schedule):
    grid, block = (3, 2, 4), (5, 3, 3)
    y = np.full((*grid[::-1], *block[::-1], 6), 999, np.uint32)
    kernels.launch("indices", y, grid=grid, block=block, schedule=schedule)
    bz, by, bx, tz, ty, tx = np.indices(y.shape[:-1])
    assert np.array_equal(y, np.stack([tx, ty, tz, bx, by, bz], axis=-1))


def test_the_schedule_orders_blocks_and_threads(kernels):
    def ran(entry, count, **launch):
        y, counter = np.full(count, -1, np.int32), np.zeros(1, np.int32)
        kernels.launch(entry, counter, y, **launch)
        return y.tolist()

    blocks = [ran("order", 64, grid=64, schedule=s) for s in range(5)]
    threads = [ran("lanes_in_order", 128, block=128, schedule=s) for s in range(5)]
    assert blocks[0] == list(range(64))
    assert blocks[1] == blocks[0][::-1]
    assert threads[0] == list(range(128))
    assert threads[1] == threads[0][::-1]
    for runs in (blocks, threads):
        assert all(sorted(run) == runs[0] for run in runs)
        assert len({tuple(run) for run in runs}) == 5
    assert ran("order", 64, grid=64, schedule=3) == blocks[3]


@plain
def test_shared_memory_is_poisoned_before_every_block(kernels):
    y = np.zeros((3, 108), np.float32)
    kernels.launch("uninitialised", y, 100, grid=3, block=64, shared=400)
    assert (y.view(np.uint32) == 0xFFFFFFFF).all()


def test_dynamic_shared_memory_holds_vectors(kernels):
    x = np.arange(100, dtype=np.float32)
    y = np.zeros_like(x)
    kernels.launch("dynamic", x, y, block=100, shared=1600)
    assert np.array_equal(y, x[::-1] + 9)


def test_writing_beyond_dynamic_shared_memory_is_a_fault(kernels, sanitize):
    kernels.launch("overrun", block=1, shared=38)
    said = {
        "off": ("shared", r"byte 53 .* was written; the launch gave 37 bytes"),
        "shadow": ("bounds", r"writes 1 byte, \d+ bytes past the end of dynamic shared memory \(37 bytes\)"),
    }
    kind, text = said[sanitize]
    with pytest.raises(EmulationFault, match=text) as fault:
        kernels.launch("overrun", block=3, shared=37)
    assert fault.value.kind == kind


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_spin_lock_makes_progress(kernels, schedule):
    mutex, total = np.zeros(1, np.int32), np.zeros(1, np.int32)
    kernels.launch("lock", mutex, total, grid=2, block=96, schedule=schedule)
    assert total[0] == 192


def test_the_largest_block_has_room_on_every_stack(kernels):
    y = np.zeros(1024, np.int32)
    kernels.launch("stack", y, block=1024)
    assert np.array_equal(y, 6000 + 4 * np.arange(1024))
    kernels.module.close()
    y[:] = 0
    kernels.launch("stack", y, block=1024, schedule=5)
    assert np.array_equal(y, 6000 + 4 * np.arange(1024))


def test_traps_and_assertions_say_where(kernels):
    with pytest.raises(EmulationFault, match=r"__trap \(kernel\.cu\.j2:\d+\)") as fault:
        kernels.launch("trap_on", 37, grid=4, block=64)
    assert (fault.value.kind, fault.value.block, fault.value.thread) == ("trap", (0, 0, 0), (37, 0, 0))
    with pytest.raises(EmulationFault, match=r'assertion `int\(threadIdx.x\) < limit && "in range"` failed') as fault:
        kernels.launch("assert_below", 9, block=(64, 2))
    assert (fault.value.kind, fault.value.thread) == ("assert", (9, 0, 0))
    kernels.launch("assert_below", 64, block=64)


FAULTS = r"""
extern "C" __global__ void half_wait(int* y) {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncwarp();
  }
  y[threadIdx.x] = 1;
}
extern "C" __global__ void two_lines(int* y) {
  if (threadIdx.x % 32 < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
extern "C" __global__ void two_kinds(int* y) {
  if (threadIdx.x < 32) __syncthreads();
  else __syncthreads_or(1);
}
extern "C" __global__ void across_warps(int* y) {  // legal: warps meet at one barrier from different lines
  __shared__ int s[2];
  s[threadIdx.x / 32] = threadIdx.x / 32 + 5;
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = s[1 - threadIdx.x / 32];
}
"""


@pytest.fixture(scope="module")
def faulty(build):
    return build(FAULTS, ["half_wait", "two_lines", "two_kinds", "across_warps"])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_deadlock_lists_who_waits_where(faulty, schedule):
    with pytest.raises(EmulationFault) as fault:
        faulty.launch("half_wait", np.zeros(96, np.int32), block=96, schedule=schedule)
    assert fault.value.kind == "deadlock"
    assert "threads 0-39 wait at __syncthreads (kernel.cu.j2:4)" in fault.value.message
    assert "__syncwarp with mask 0xffffffff for lanes 0x000000ff of warp 1 (kernel.cu.j2:6)" in fault.value.message


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_warp_at_two_barriers_is_a_fault(faulty, schedule):
    with pytest.raises(EmulationFault, match=r"warp \d are at different barriers: lines 1[24] and 1[24]") as fault:
        faulty.launch("two_lines", np.zeros(64, np.int32), block=64, schedule=schedule)
    assert fault.value.kind == "barrier"
    with pytest.raises(EmulationFault, match="at one barrier"):
        faulty.launch("two_kinds", np.zeros(64, np.int32), block=64, schedule=schedule)


def test_warps_may_meet_at_a_barrier_from_different_lines(faulty):
    y = np.zeros(64, np.int32)
    faulty.launch("across_warps", y, block=64)
    assert y.tolist() == [6] * 32 + [5] * 32
