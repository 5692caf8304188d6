"""Small kernels with one fault each, right ones beside them, and how to launch one."""

from __future__ import annotations

import ctypes

import numpy as np

from specforge.backend.emulator.module import Buffer, EmulatedModule

SCHEDULES = (0, 1, 2, 77)

# Each line starts a kernel; `// here` marks the line that a report must name, `// there` the other one of a race.
FAULTY = {
    "past_end": ("bounds", "4 bytes, 0 bytes past the end of `y` (256 bytes, as element 64 of 64)", """
  y[threadIdx.x + 1] = 1;  // here
"""),
    "before_start": ("bounds", "4 bytes before the start of `x` (256 bytes, as element -1 of 64)", """
  y[threadIdx.x] = x[(int)threadIdx.x - 1];  // here
"""),
    "nowhere": ("bounds", "writes 4 bytes in no buffer, ", """
  if (threadIdx.x == 3) y[1 << 28] = 1;  // here
"""),
    "null": ("bounds", "a null pointer", """
  y[threadIdx.x] = 1;
  if (threadIdx.x == 3) *(float*)(n - 64ll) = 1;  // here
"""),
    "shared_index": ("bounds", "index 64 is out of an array of type", """
  __shared__ float s[64];
  s[threadIdx.x + n - 63] = 1;  // here
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
"""),
    "into_the_next_array": ("bounds", "0 bytes past the end of shared `a` (64 bytes)", """
  __shared__ float a[16], b[16];
  if (threadIdx.x < 16) a[threadIdx.x] = b[threadIdx.x] = 1;
  __syncthreads();
  float* p = a + n / 4;
  if (threadIdx.x == 0) *p = 2;  // here
  __syncthreads();
  y[threadIdx.x] = a[threadIdx.x & 15] + b[threadIdx.x & 15];
"""),
    "local_index": ("bounds", "index 4 is out of an array of type", """
  float own[4] = {1, 2, 3, 4};
  y[threadIdx.x] = own[threadIdx.x & 7];  // here
"""),
    "dynamic_shared": ("bounds", "0 bytes past the end of dynamic shared memory (256 bytes)", """
  DYNAMIC_SHARED(float, s);
  s[threadIdx.x + 1] = 1;  // here
"""),
    "long_copy": ("bounds", "reads 128 bytes, 64 bytes of them past the end of `x`", """
  float own[32];
  memcpy(own, x + n - 16, sizeof(own));  // here
  y[threadIdx.x] = own[threadIdx.x & 31];
"""),
    "writes_input": ("read-only", "writes 4 bytes at element 5 of `x`, an input", """
  if (threadIdx.x == 5) const_cast<float*>(x)[5] = 1;  // here
"""),
    "reads_output": ("uninitialised", "reads 4 bytes at element 0 of `y`, which nothing has written", """
  y[threadIdx.x] = y[threadIdx.x] + 1;  // here
"""),
    "half_shared": ("uninitialised", "of shared `s` (256 bytes), which nothing in the block has written", """
  __shared__ float s[64];
  if (threadIdx.x < 32) s[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x ^ 32];  // here
"""),
    "no_barrier": ("race", "of shared `s` (256 bytes)", """
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];  // here there
  y[threadIdx.x] = s[63 - threadIdx.x];  // here there
"""),
    "reuse": ("race", "of dynamic shared memory", """
  DYNAMIC_SHARED(float, s);
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  const float other = s[63 - threadIdx.x];  // here there
  s[threadIdx.x] = other + 1;  // here there
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
"""),
    "third_reader": ("race", "of shared `s`", """
  __shared__ float s[1];
  if (threadIdx.x == 0) s[0] = 1;
  __syncthreads();
  y[threadIdx.x] = s[0];  // here there
  if (threadIdx.x == 40) s[0] = 2;  // here there
"""),
    "shuffle_orders_nothing": ("race", "of shared `s`", """
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];  // here there
  __shfl_sync(~0u, 1, 0);
  y[threadIdx.x] = s[threadIdx.x ^ 1];  // here there
"""),
    "two_owners": ("race", "element 7 of `y`", """
  if (threadIdx.x % 32 == 7) y[7] = (float)threadIdx.x;  // here there
"""),
    "atomic_and_plain": ("race", "element 0 of `y`", """
  if (threadIdx.x == 0) y[0] = 0;  // here there
  __syncthreads();
  if (threadIdx.x == 1) atomicAdd(&y[0], 1.0f);  // here there
  if (threadIdx.x == 33) y[0] = 2;  // here there
"""),
    "float4_between": ("alignment", "an address that is 4 beyond a multiple of 16", """
  const float4 four = *reinterpret_cast<const float4*>(x + threadIdx.x / 64 + 1);  // here
  y[threadIdx.x] = four.x + four.y + four.z + four.w;
"""),
    "index_overflow": ("overflow", "2147483647 + 1 does not fit", """
  const int large = 0x7fffffff - 64 + n;
  y[threadIdx.x] = (float)(large + 1);  // here
"""),
    "product_overflow": ("overflow", "does not fit 'int'", """
  const int large = n * 1024;
  y[threadIdx.x] = (float)(large * (n * 1024));  // here
"""),
    "wide_shift": ("overflow", "1 shifted by 64, in 32 bits", """
  y[threadIdx.x] = (float)(1 << n);  // here
"""),
    "plain_poll": ("deadlock", "waits for memory to change, at element 63 of `z`", """
  if (threadIdx.x == 0) z[63] = 0;
  __syncthreads();
  while (z[63] == 0) asm volatile("" ::: "memory");  // here
"""),
    "zero_divisor": ("overflow", "division of 64 by zero", """
  y[threadIdx.x] = (float)(n / (n - 64));  // here
"""),
    "volatile_poll": ("deadlock", "waits for memory to change, at element 63 of `z`", """
  if (threadIdx.x == 0 && blockIdx.x == 0) *z = 0;
  volatile int* flag = z + 63;
  flag[0] = 0;
  while (*flag == 0) {}  // here
"""),
}  # fmt: skip

RIGHT = {
    "guarded": "  if (blockIdx.x * 64 + threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x];",
    "exchange": """
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x];
  __syncthreads();
  s[threadIdx.x] = 2;
""",
    "by_warps": """
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  const float other = s[threadIdx.x ^ 1];
  __syncwarp();
  s[threadIdx.x] = other;
  y[threadIdx.x] = other;
""",
    "by_half_warps": """
  __shared__ float s[64];
  const unsigned mask = threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u;
  s[threadIdx.x] = x[threadIdx.x];
  __syncwarp(mask);
  y[threadIdx.x] = s[threadIdx.x ^ 8];
""",
    "bytes": """
  __shared__ unsigned char s[64];
  s[threadIdx.x] = (unsigned char)threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x];
""",
    "halves": """
  __half* half = reinterpret_cast<__half*>(y);
  half[threadIdx.x] = __float2half(1);
  half[64 + threadIdx.x] = __float2half(1);
""",
    "same_flag": """
  __shared__ int found;
  if (threadIdx.x == 0) found = 0;
  __syncthreads();
  if (x[threadIdx.x] >= 0) found = 1;
  __syncthreads();
  y[threadIdx.x] = (float)found;
""",
    "counted": """
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  atomicAdd(&count, 1);
  __syncthreads();
  y[threadIdx.x] = (float)count;
""",
    "local": """
  float own[8];
  for (int i = 0; i < 8; ++i) own[i] = x[(threadIdx.x + i) % 64];
  float sum = 0;
  for (int i = 0; i < 8; ++i) sum += own[(i * 3) % 8];
  y[threadIdx.x] = sum;
""",
    "vectors": """
  __shared__ float4 s[64];
  s[threadIdx.x] = *reinterpret_cast<const float4*>(x + threadIdx.x / 4 * 4);
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x].w;
""",
    "locked": """
  __shared__ int mutex;
  __shared__ float sum;
  if (threadIdx.x == 0) mutex = 0, sum = 0;
  __syncthreads();
  while (atomicCAS(&mutex, 0, 1) != 0) {}
  __threadfence_block();
  sum += 1;
  __threadfence_block();
  atomicExch(&mutex, 0);
  __syncthreads();
  y[threadIdx.x] = sum;
""",
}

HEAD = 'extern "C" __global__ void %s(const float* x, float* y, int* z, int n) {'


def source_of(kernels: dict[str, str]) -> str:
    return "\n".join(f"{HEAD % name}{body}\n}}" for name, body in kernels.items())


def run(module: EmulatedModule, entries: list[str], schedule: int, *, grid: int = 1, nbytes: int = 256) -> np.ndarray:
    """Launches over an input `x` of 64 floats, and what nothing has written: `y` of floats, `z` of 64 integers."""
    memory = np.zeros(4096 + nbytes, np.uint8)
    start = 1024 - memory.ctypes.data % 256
    address = memory.ctypes.data + start
    x = memory[start : start + 256].view(np.float32)
    y = memory[start + 1024 : start + 1024 + nbytes].view(np.float32)
    x[:] = np.arange(64)
    at = {"x": address, "z": address + 512, "y": address + 1024}
    module.watch(
        [
            Buffer("x", at["x"], 256, 4, False, 128, 128),
            Buffer("z", at["z"], 256, 4, True, 128, 128),
            Buffer("y", at["y"], nbytes, 4, True, 128, 128),
        ]
    )
    for entry in entries:
        blocks = 1 if entry == "clear" else grid
        threads = 1 if entry == "clear" else 64
        arguments = [at["x"], at["y"], at["z"], ctypes.c_int(64)]
        module.launch(entry, (blocks, 1, 1), (threads, 1, 1), 256, arguments, schedule=schedule)
    return y.copy()


def lines_of(name: str, source: str, mark: str) -> list[int]:
    """Lines of the marked places of one kernel, in the source of all of them."""
    lines = source.splitlines()
    first = next(number for number, line in enumerate(lines) if f" {name}(" in line)
    end = next((n for n in range(first + 1, len(lines)) if lines[n].startswith('extern "C"')), len(lines))
    return [n + 1 for n in range(first, end) if mark in lines[n].partition("//")[2]]
