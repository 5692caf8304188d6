#include "dependent.cuh"
#include "last_block.cuh"

// Two launches: the second depends on the first, and reads what that leaves in reverse order.
extern "C" __global__ void first_grid(const unsigned* x, unsigned* middle) {
  grid_let_next();
  middle[blockIdx.x * blockDim.x + threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x] + 1;
}
extern "C" __global__ void second_grid(const unsigned* x, const unsigned* middle, unsigned* y) {
  __shared__ unsigned early[32];
  const unsigned all = gridDim.x * blockDim.x, i = blockIdx.x * blockDim.x + threadIdx.x;
  early[threadIdx.x] = x[i];
  grid_wait();
  y[i] = early[threadIdx.x] * 3 + middle[all - 1 - i];
}

// Wrong: does not wait.
extern "C" __global__ void impatient(const unsigned* x, const unsigned* middle, unsigned* y) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = x[i] * 3 + middle[gridDim.x * blockDim.x - 1 - i];
}
// Wrong: writes what the first may still read.
extern "C" __global__ void overwrites(unsigned* x, const unsigned* middle, unsigned* y) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  x[i] = 7;
  grid_wait();
  y[i] = middle[i];
}
extern "C" __global__ void traps(const unsigned* x, unsigned* middle) { __trap(); }

// Each block leaves the sum of 32 words; the last to count adds all up. What it counts in is 0 again.
extern "C" __global__ void last_adds(const unsigned* x, unsigned* parts, unsigned* counted, unsigned* y) {
  __shared__ bool last;
  const unsigned sum = __reduce_add_sync(0xffffffffu, x[blockIdx.x * 32 + threadIdx.x]);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
    last = is_last_block(counted, gridDim.x);
  }
  __syncthreads();
  if (last && threadIdx.x == 1) {
    unsigned all = 0;
    for (unsigned i = 0; i < gridDim.x; ++i) all += __ldcg(parts + i);
    y[0] = all;
  }
}
// Wrong: counts before its part is there.
extern "C" __global__ void counts_too_early(const unsigned* x, unsigned* parts, unsigned* counted, unsigned* y) {
  const bool last = is_last_block(counted, gridDim.x);
  parts[blockIdx.x] = x[blockIdx.x];
  if (last)
    for (unsigned i = 0; i < gridDim.x; ++i) y[0] += __ldcg(parts + i);
}

// Only for a card: the first grid is there until the second says that it has started, or too long.
extern "C" __global__ void waits_to_be_met(unsigned* flag, unsigned* met) {
  grid_let_next();
  const long long start = clock64();
  while (*(volatile unsigned*)flag != 1 && clock64() - start < 200000000) {
  }
  met[0] = *(volatile unsigned*)flag == 1;
}
extern "C" __global__ void starts(unsigned* flag) { *(volatile unsigned*)flag = 1; }
