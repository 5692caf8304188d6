"""Kernels made to be measured, and the plans that launch them."""

from __future__ import annotations

from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance

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
// Updated in place; the second goes on only for as long as it is checked before anything is timed.
extern "C" __global__ void decay(const float* x, float* state, float* out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float now = 0.75f * state[i] + x[i];
  state[i] = now;
  out[i] = 3.0f * now;
}
__device__ unsigned decays;
extern "C" __global__ void decay_at_first(const float* x, float* state, float* out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float now = 0.75f * state[i] + x[i];
  if (decays < gridDim.x) state[i] = now;
  out[i] = 3.0f * now;
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(&decays, 1u);
}
extern "C" __global__ void decay_past_the_end(const float* x, float* state, float* out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float now = 0.75f * state[i] + x[i];
  state[i] = now;
  if (i + 1 == gridDim.x * blockDim.x) state[i + 2] = now;
  out[i] = 3.0f * now;
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
    "decay": "def reference(*, x, state):\n    new = 0.75 * state + x\n    return {'state': new, 'out': 3.0 * new}\n",
    "read": "def reference(*, x):\n    return {'out': x[:1]}\n",
}
NORMAL = ("normal",)
CLOSE = {"out": Tolerance(False, relative=1e-4, absolute=1e-3)}


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


def decay_plan(entry: str, references: dict[str, str], residency: str, n: int = 1 << 16) -> Plan:
    buffers = (
        BufferPlan("x", (n,), "f32", "in", NORMAL, "hot", ()),
        BufferPlan("state", (n,), "f32", "inout", NORMAL, residency, ()),  # type: ignore[arg-type]
        BufferPlan("out", (n,), "f32", "out", NORMAL, "hot", ()),
    )
    launch = LaunchPlan(entry, (n // 256, 1, 1), (256, 1, 1), 0, ("x", "state", "out"))
    close = CLOSE | {"state": CLOSE["out"]}
    return Plan("test/decay", references["decay"], {}, {}, buffers, (launch,), 16.0 * n, 3.0 * n, n, close)


def read_plan(n: int, references: dict[str, str], residency: str) -> Plan:
    buffers = (
        BufferPlan("x", (n,), "f32", "in", NORMAL, residency, ()),  # type: ignore[arg-type]
        BufferPlan("out", (1,), "f32", "out", NORMAL, "hot", ()),
    )
    blocks = max(1, min(132 * 4, n // 4 // 256))
    launch = LaunchPlan("read", (blocks, 1, 1), (256, 1, 1), 0, ("x", "out", n))
    return Plan("test/read", references["read"], {}, {}, buffers, (launch,), 4.0 * n, 1.0, 1, {"out": Tolerance(True)})
