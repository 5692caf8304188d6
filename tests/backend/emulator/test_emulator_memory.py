from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

SOURCE = r"""
template <typename T> __device__ void fold(const T* x, T* y) {  // y: add, min, max, and, or, xor, exchange
  const T v = x[blockIdx.x * blockDim.x + threadIdx.x];
  atomicAdd(&y[0], v); atomicMin(&y[1], v); atomicMax(&y[2], v);
  atomicAnd(&y[3], v); atomicOr(&y[4], v); atomicXor(&y[5], v);
  atomicExch(&y[6], v);
}
extern "C" __global__ void fold_int(const int* x, int* y) { fold(x, y); }
extern "C" __global__ void fold_unsigned(const unsigned* x, unsigned* y) { fold(x, y); }
extern "C" __global__ void fold_ull(const unsigned long long* x, unsigned long long* y) { fold(x, y); }
extern "C" __global__ void floats(const float* x, float* f, double* d, __half* h, __nv_bfloat162* b) {
  const float v = x[threadIdx.x];
  atomicAdd(f, v);
  atomicAdd(d, double(v));
  atomicAdd(h, __float2half(v));
  atomicAdd(b, __floats2bfloat162_rn(v, -v));
}
extern "C" __global__ void counters(unsigned* y, int* z) {
  y[2 + threadIdx.x] = atomicInc(&y[0], 4);
  y[2 + 64 + threadIdx.x] = atomicDec(&y[1], 4);
  atomicSub(z, 3);
}
extern "C" __global__ void float_max(const float* x, float* y) {  // the usual loop around atomicCAS
  int* const address = reinterpret_cast<int*>(y);
  int old = *address;
  while (__int_as_float(old) < x[threadIdx.x]) {
    const int seen = atomicCAS(address, old, __float_as_int(x[threadIdx.x]));
    if (seen == old) break;
    old = seen;
  }
}
extern "C" __global__ void last_block(const float* x, float* partial, unsigned* done, float* y) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = x[blockIdx.x];
    __threadfence();
    last = atomicAdd(done, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float sum = 0;
    for (unsigned i = 0; i < gridDim.x; ++i) sum += __ldcg(&partial[i]);
    *y = sum;
  }
}
__device__ float table[4] = {1, 2, 3, 4};
__constant__ float fixed[4] = {10, 20, 30, 40};
extern "C" __global__ void cached(const float4* x, float4* y, const __nv_bfloat16* b, float* z) {
  const float4 v = __ldg(&x[threadIdx.x]), w = __ldcs(x + threadIdx.x);
  __stcs(&y[threadIdx.x], make_float4(v.x + w.x, v.y, v.z, v.w * fixed[threadIdx.x % 4]));
  __stcg(&z[threadIdx.x], __bfloat162float(__ldca(&b[threadIdx.x])) + table[threadIdx.x % 4]);
}
"""
ENTRIES = ["fold_int", "fold_unsigned", "fold_ull", "floats", "counters", "float_max", "last_block", "cached"]


@pytest.fixture(scope="module")
def kernels(build):
    return build(SOURCE, ENTRIES)


@pytest.mark.parametrize(
    ("entry", "dtype"), [("fold_int", np.int32), ("fold_unsigned", np.uint32), ("fold_ull", np.uint64)]
)
@pytest.mark.parametrize("schedule", [0, 1, 6])
def test_integer_atomics(kernels, entry, dtype, schedule):
    info = np.iinfo(dtype)
    x = np.random.default_rng(schedule).integers(info.min, info.max, 192, dtype=dtype)
    y = np.array([0, info.max, info.min, -1 if info.min else info.max, 0, 0, 0], dtype)
    kernels.launch(entry, x, y, grid=2, block=96, schedule=schedule)
    bitwise = [f.reduce(x) for f in (np.bitwise_and, np.bitwise_or, np.bitwise_xor)]
    expected = [x.sum(dtype=dtype), x.min(), x.max(), *bitwise]
    assert y[:6].tolist() == expected
    assert y[6] in x


def test_float_atomics(kernels):
    x = np.random.default_rng(0).integers(-8, 9, 96).astype(np.float32)
    f, d, h, b = np.zeros(1, np.float32), np.zeros(1), np.zeros(1, np.float16), np.zeros(2, ml_dtypes.bfloat16)
    kernels.launch("floats", x, f, d, h, b, block=96, schedule=3)
    assert (f[0], d[0], float(h[0]), float(b[0]), float(b[1])) == (x.sum(), x.sum(), x.sum(), x.sum(), -x.sum())


def test_counters_wrap_at_their_limit(kernels):
    y, z = np.zeros(130, np.uint32), np.zeros(1, np.int32)
    kernels.launch("counters", y, z, block=64)
    assert y[2:66].tolist() == [i % 5 for i in range(64)]
    assert y[66:].tolist() == [-i % 5 for i in range(64)]
    assert z[0] == -192


@pytest.mark.parametrize("schedule", [0, 1, 8])
def test_compare_and_swap(kernels, schedule):
    x = np.random.default_rng(2).normal(size=256).astype(np.float32)
    y = np.full(1, -np.inf, np.float32)
    kernels.launch("float_max", x, y, block=256, schedule=schedule)
    assert y[0] == x.max()


@pytest.mark.parametrize("schedule", [0, 1, 8])
def test_the_last_block_sees_the_others(kernels, schedule):
    x = np.arange(37, dtype=np.float32)
    y, done, partial = np.zeros(1, np.float32), np.zeros(1, np.uint32), np.full(37, np.nan, np.float32)
    kernels.launch("last_block", x, partial, done, y, grid=37, block=64, schedule=schedule)
    assert y[0] == x.sum()


def test_cached_loads_and_stores_and_device_globals(kernels):
    x = np.random.default_rng(4).normal(size=(32, 4)).astype(np.float32)
    b = np.random.default_rng(5).normal(size=32).astype(ml_dtypes.bfloat16)
    y, z = np.zeros_like(x), np.zeros(32, np.float32)
    kernels.launch("cached", x, y, b, z)
    scale = np.resize(np.float32([10, 20, 30, 40]), 32)
    assert np.array_equal(y, np.stack([x[:, 0] * 2, x[:, 1], x[:, 2], x[:, 3] * scale], axis=1))
    assert np.array_equal(z, b.astype(np.float32) + scale / 10)
