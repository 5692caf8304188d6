#include "mma_e4m3.cuh"

template <typename T>
__device__ void multiply(const T* a, const T* b, float* d) {
  const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const auto pair = [](T first, T second) {
    const T both[2] = {first, second};
    unsigned bits;
    memcpy(&bits, both, sizeof(bits));
    return bits;
  };
  unsigned a_words[4], b_words[2];
  float sums[4];
  for (int r = 0; r < 4; ++r) {
    const T* const from = a + (g + r % 2 * 8) * 16 + t * 2 + r / 2 * 8;
    a_words[r] = pair(from[0], from[1]);
    sums[r] = d[(g + r / 2 * 8) * 8 + t * 2 + r % 2];
  }
  for (int r = 0; r < 2; ++r) b_words[r] = pair(b[(t * 2 + r * 8) * 8 + g], b[(t * 2 + r * 8 + 1) * 8 + g]);
  mma_m16n8k16<T>(sums, a_words, b_words);
  for (int r = 0; r < 4; ++r) d[(g + r / 2 * 8) * 8 + t * 2 + r % 2] = sums[r];
}

__device__ void multiply(const unsigned char* a, const unsigned char* b, float* d) {
  const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4;
  unsigned a_words[4] = {}, b_words[2] = {};
  float sums[4];
  for (int r = 0; r < 4; ++r) {
    for (int i = 0; i < 4; ++i) a_words[r] |= unsigned(a[(g + r % 2 * 8) * 32 + t * 4 + r / 2 * 16 + i]) << 8 * i;
    sums[r] = d[(g + r / 2 * 8) * 8 + t * 2 + r % 2];
  }
  for (int r = 0; r < 2; ++r)
    for (int i = 0; i < 4; ++i) b_words[r] |= unsigned(b[(t * 4 + r * 16 + i) * 8 + g]) << 8 * i;
  mma_m16n8k32_e4m3(sums, a_words, b_words);
  for (int r = 0; r < 4; ++r) d[(g + r / 2 * 8) * 8 + t * 2 + r % 2] = sums[r];
}

extern "C" __global__ void multiply_bf16(const __nv_bfloat16* a, const __nv_bfloat16* b, float* d) { multiply(a, b, d); }
extern "C" __global__ void multiply_f16(const __half* a, const __half* b, float* d) { multiply(a, b, d); }
extern "C" __global__ void transpose(const unsigned* x, unsigned* y) { y[threadIdx.x] = transpose_8x8(x[threadIdx.x]); }
extern "C" __global__ void meet(unsigned* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = transpose_8x8(threadIdx.x);
  else y[threadIdx.x] = __shfl_sync(0xffffffffu, threadIdx.x, 0);
}
extern "C" __global__ void multiply_e4m3(const unsigned char* a, const unsigned char* b, float* d) { multiply(a, b, d); }
extern "C" __global__ void widen_bytes(const unsigned* bytes, unsigned* halves) {
  for (int i = threadIdx.x; i < 64; i += 32) {
    halves[2 * i] = widen_e4m3(bytes[i], false);
    halves[2 * i + 1] = widen_e4m3(bytes[i], true);
  }
}
