from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from specforge.backend.emulator.module import EmulationFault

SOURCE = r"""
extern "C" __global__ void shuffle(const int* x, int* y, int mode, int operand, int width) {
  const int v = x[threadIdx.x];
  int r = 0;
  if (mode == 0) r = __shfl_sync(0xffffffffu, v, operand, width);
  if (mode == 1) r = __shfl_up_sync(0xffffffffu, v, operand, width);
  if (mode == 2) r = __shfl_down_sync(0xffffffffu, v, operand, width);
  if (mode == 3) r = __shfl_xor_sync(0xffffffffu, v, operand, width);
  y[threadIdx.x] = r;
}
template <typename T> __device__ void reverse(const T* x, T* y) {
  y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 31);
}
extern "C" __global__ void types(const double* d, double* d2, const long long* l, long long* l2, const __half* h,
                                 __half* h2, const __nv_bfloat16* b, __nv_bfloat16* b2, const float* f, float* f2) {
  reverse(d, d2); reverse(l, l2); reverse(h, h2); reverse(b, b2); reverse(f, f2);
}
extern "C" __global__ void votes(const int* x, unsigned* ballot, int* any, int* all, unsigned* match,
                                 unsigned* match_all, int* same) {
  const unsigned t = threadIdx.x;
  ballot[t] = __ballot_sync(0xffffffffu, x[t] > 2);
  any[t] = __any_sync(0xffffffffu, x[t] > 2);
  all[t] = __all_sync(0xffffffffu, x[t] > 2);
  match[t] = __match_any_sync(0xffffffffu, x[t]);
  match_all[t] = __match_all_sync(0xffffffffu, x[t] >= -100, &same[t]);
}
extern "C" __global__ void reductions(const int* x, int* add, int* low, int* high, unsigned* bits, unsigned* ulow) {
  const unsigned t = threadIdx.x;
  add[t] = __reduce_add_sync(0xffffffffu, x[t]);
  low[t] = __reduce_min_sync(0xffffffffu, x[t]);
  high[t] = __reduce_max_sync(0xffffffffu, x[t]);
  bits[t] = (__reduce_and_sync(0xffffffffu, unsigned(x[t])) & 0xff) |
            (__reduce_or_sync(0xffffffffu, unsigned(x[t])) & 0xff) << 8 |
            (__reduce_xor_sync(0xffffffffu, unsigned(x[t])) & 0xff) << 16;
  ulow[t] = __reduce_min_sync(0xffffffffu, unsigned(x[t]));
}
extern "C" __global__ void halves(const int* x, int* y) {  // two diverging halves, each under its mask
  const unsigned lane = threadIdx.x % 32, mask = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  int v = x[threadIdx.x];
  if (lane < 16) {
    for (int o = 8; o; o >>= 1) v += __shfl_xor_sync(mask, v, o);
  } else {
    for (int o = 1; o < 16; o <<= 1) v += __shfl_xor_sync(mask, v, o);
  }
  y[threadIdx.x] = v;
}
extern "C" __global__ void overlapping(int* y) {  // lane 2 waits for 0 while 0 works with 1
  const unsigned lane = threadIdx.x;
  int v = int(lane) + 1;
  if (lane < 2) v += __shfl_xor_sync(0x3u, v, 1);
  if (lane == 0 || lane == 2) v += __shfl_xor_sync(0x5u, v, 2);
  y[lane] = v;
}
extern "C" __global__ void rotate(int* y, int rounds) {
  int v = threadIdx.x;
  for (int i = 0; i < rounds; ++i) v = __shfl_sync(0xffffffffu, v, (threadIdx.x + 1) % 32);
  y[threadIdx.x] = v;
}
extern "C" __global__ void exchange(int* y) {  // shared memory between lanes, ordered by __syncwarp
  __shared__ int s[32];
  s[threadIdx.x] = threadIdx.x;
  __syncwarp();
  const int v = s[31 - threadIdx.x];
  __syncwarp();
  s[threadIdx.x] = v;
  __syncwarp();
  y[threadIdx.x] = s[(threadIdx.x + 1) % 32];
}
extern "C" __global__ void active(unsigned* y) { y[threadIdx.x] = __activemask(); }
extern "C" __global__ void ballot_all(unsigned* y) { y[threadIdx.x] = __ballot_sync(0xffffffffu, 1); }
"""
ENTRIES = [
    "shuffle", "types", "votes", "reductions", "halves", "overlapping", "rotate", "exchange", "active", "ballot_all",
]  # fmt: skip
SCHEDULES = [0, 1, 2, 77]


@pytest.fixture(scope="module")
def kernels(build):
    return build(SOURCE, ENTRIES)


def expected_lane(mode, lane, operand, width):
    first, last = lane - lane % width, lane - lane % width + width - 1
    operand %= 32
    if mode == 0:
        return first + operand % width
    source = {1: lane - operand, 2: lane + operand, 3: lane ^ operand}[mode]
    inside = source >= first if mode == 1 else source <= last
    return source if inside else lane


@pytest.mark.parametrize("mode", range(4))
def test_shuffles_read_the_lane_that_the_instruction_reads(kernels, mode):
    x = np.arange(100, 132, dtype=np.int32)
    for width in (1, 2, 4, 8, 16, 32):
        for operand in range(33):
            y = np.zeros_like(x)
            kernels.launch("shuffle", x, y, mode, operand, width, schedule=operand)
            expected = [100 + expected_lane(mode, lane, operand, width) for lane in range(32)]
            assert y.tolist() == expected, (width, operand)


@pytest.mark.parametrize("width", [0, -1, 3, 33, 64])
def test_a_width_that_is_no_power_of_two_is_a_fault(kernels, width):
    x = np.zeros(32, np.int32)
    with pytest.raises(EmulationFault, match=rf"width {width} .*kernel\.cu\.j2:8") as fault:
        kernels.launch("shuffle", x, x.copy(), 3, 1, width)
    assert fault.value.kind == "shuffle"


def test_every_type_is_shuffled_whole(kernels):
    draw = np.random.default_rng(1)
    arrays = [
        draw.normal(size=32),
        draw.integers(-(2**62), 2**62, 32),
        draw.normal(size=32).astype(np.float16),
        draw.normal(size=32).astype(ml_dtypes.bfloat16),
        draw.normal(size=32).astype(np.float32),
    ]
    outs = [np.zeros_like(a) for a in arrays]
    kernels.launch("types", *(item for pair in zip(arrays, outs, strict=True) for item in pair))
    for given, got in zip(arrays, outs, strict=True):
        assert got.tobytes() == given[::-1].tobytes()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_votes_and_matches(kernels, schedule):
    x = np.random.default_rng(schedule).integers(0, 6, 32).astype(np.int32)
    ballot, match, match_all = (np.zeros(32, np.uint32) for _ in range(3))
    any_, all_, same = (np.full(32, -7, np.int32) for _ in range(3))
    kernels.launch("votes", x, ballot, any_, all_, match, match_all, same, schedule=schedule)
    lanes = np.arange(32)
    assert set(ballot) == {int(sum(1 << int(i) for i in lanes[x > 2]))}
    assert set(any_) == {1}
    assert set(all_) == {0}
    assert match.tolist() == [sum(1 << int(i) for i in lanes[x == v]) for v in x]
    assert set(match_all) == {0xFFFFFFFF}
    assert set(same) == {1}


def test_reductions(kernels):
    x = np.random.default_rng(3).integers(-1000, 1000, 32).astype(np.int32)
    add, low, high = (np.zeros(32, np.int32) for _ in range(3))
    bits, ulow = (np.zeros(32, np.uint32) for _ in range(2))
    kernels.launch("reductions", x, add, low, high, bits, ulow, schedule=5)
    u = x.view(np.uint32)
    folded = [f.reduce(u) & 0xFF for f in (np.bitwise_and, np.bitwise_or, np.bitwise_xor)]
    assert (set(add), set(low), set(high)) == ({x.sum()}, {x.min()}, {x.max()})
    assert set(bits) == {folded[0] | folded[1] << 8 | folded[2] << 16}
    assert set(ulow) == {u.min()}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_disjoint_masks_of_one_warp_do_not_meet(kernels, schedule):
    x = np.arange(64, dtype=np.int32)
    y = np.zeros_like(x)
    kernels.launch("halves", x, y, block=64, schedule=schedule)
    assert y.tolist() == np.repeat(x.reshape(4, 16).sum(1), 16).tolist()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_masks_that_overlap_in_time_are_told_apart(kernels, schedule):
    y = np.zeros(32, np.int32)
    kernels.launch("overlapping", y, schedule=schedule)
    assert y[:4].tolist() == [6, 3, 6, 4]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_exchange_cannot_overtake_the_one_before(kernels, schedule):
    y = np.zeros(32, np.int32)
    kernels.launch("rotate", y, 35, schedule=schedule)
    assert y.tolist() == [(lane + 35) % 32 for lane in range(32)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_syncwarp_orders_shared_memory(kernels, schedule):
    y = np.zeros(32, np.int32)
    kernels.launch("exchange", y, schedule=schedule)
    assert y.tolist() == [31 - (lane + 1) % 32 for lane in range(32)]


def test_activemask_promises_the_calling_lane_only(kernels):
    y = np.zeros(32, np.uint32)
    kernels.launch("active", y)
    assert y.tolist() == [1 << lane for lane in range(32)]


def test_a_full_mask_may_name_lanes_that_the_block_never_had(kernels):
    y = np.zeros(48, np.uint32)
    kernels.launch("ballot_all", y, block=48)
    assert set(y[:32]) == {0xFFFFFFFF}
    assert set(y[32:]) == {0xFFFF}


FAULTS = r"""
extern "C" __global__ void after_exit(int* y) {
  if (threadIdx.x >= 20) return;
  y[threadIdx.x] = __shfl_down_sync(0xffffffffu, 1, 16);
}
extern "C" __global__ void exit_while_waited_for(int* y) {
  if (threadIdx.x == 31) { __nanosleep(1); return; }
  y[threadIdx.x] = __ballot_sync(0xffffffffu, 1);
}
extern "C" __global__ void outside_mask(int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1, 16);
}
extern "C" __global__ void not_named(int* y) { y[threadIdx.x] = __shfl_sync(0x1u, 1, 0); }
extern "C" __global__ void mixed(int* y) {
  if (threadIdx.x < 7)
    y[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
  else
    y[threadIdx.x] = __ballot_sync(0xffffffffu, 1);
}
extern "C" __global__ void mixed_size(double* y) {
  if (threadIdx.x < 7) y[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0, 0);
  else y[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0);
}
extern "C" __global__ void beyond_block(int* y) { y[threadIdx.x] = __shfl_down_sync(0xffffffffu, 1, 1); }
extern "C" __global__ void missing(int* y) {
  if (threadIdx.x % 32 != 3) y[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
  __syncthreads();
}
"""


@pytest.fixture(scope="module")
def faulty(build):
    entries = ["after_exit", "exit_while_waited_for", "outside_mask", "not_named", "mixed", "mixed_size"]
    return build(FAULTS, [*entries, "beyond_block", "missing"])


@pytest.mark.parametrize("schedule", [0, 1, 9])
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("after_exit", r"exit.*kernel\.cu\.j2:4"),
        ("exit_while_waited_for", r"lane 31 of warp 0 exits while lane \d+ waits for it at __ballot_sync|have exited"),
        ("outside_mask", r"lane \d+ of warp 0 reads lane \d+, .* not in its mask 0x0000ffff \(kernel\.cu\.j2:11\)"),
        ("not_named", r"with mask 0x00000001, which does not name it \(kernel\.cu\.j2:13\)"),
        ("mixed", r"meets .* under one mask 0xffffffff"),
        ("mixed_size", r"__shfl_sync of [48] bytes .* meets __shfl_sync of [48] bytes"),
    ],
)
def test_misuse_is_a_fault_under_every_schedule(faulty, entry, message, schedule):
    with pytest.raises(EmulationFault, match=message) as fault:
        faulty.launch(entry, np.zeros(64, np.int32), schedule=schedule)
    assert fault.value.kind == "shuffle"
    assert fault.value.block == (0, 0, 0)


def test_reading_a_lane_that_the_block_never_had_is_a_fault(faulty):
    with pytest.raises(EmulationFault, match="lane 15 of warp 1 reads lane 16, which is not in the block"):
        faulty.launch("beyond_block", np.zeros(48, np.int32), block=48)


@pytest.mark.parametrize("schedule", [0, 1, 4])
def test_a_lane_that_never_arrives_is_reported_as_a_deadlock(faulty, schedule):
    with pytest.raises(EmulationFault) as fault:
        faulty.launch("missing", np.zeros(64, np.int32), block=64, schedule=schedule)
    assert fault.value.kind == "deadlock"
    assert "threads 3, 35 wait at __syncthreads (kernel.cu.j2:27)" in fault.value.message
    assert "with mask 0xffffffff for lanes 0x00000008 of warp 0 (kernel.cu.j2:26)" in fault.value.message


def test_a_module_is_usable_after_a_fault(faulty):
    y = np.zeros(32, np.int32)
    for _ in range(3):
        with pytest.raises(EmulationFault):
            faulty.launch("missing", y)
        faulty.launch("exit_while_waited_for", y, block=31)
    assert set(y[:31]) == {0x7FFFFFFF}
