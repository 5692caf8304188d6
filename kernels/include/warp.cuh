// Reductions and scans of one number per lane. All 32 lanes take part; with `width` (a power of two) every run of that many
// neighbouring lanes has a result of its own. Orders are fixed, so that the same values give the same bits on any machine.
#ifndef SPECFORGE_WARP_CUH
#define SPECFORGE_WARP_CUH

#include "specforge.cuh"

// The thread's place in its warp, whatever the block's shape.
__device__ __forceinline__ unsigned lane_id() {
#ifdef SPECFORGE_EMULATOR
  return specforge_emulator::lane_number();
#else
  unsigned lane;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
#endif
}

// Sum in every lane, the same bits in each: lanes that differ in the highest bit of their number are added first, then the
// next lower bit, and so on. Each value goes through log2(width) roundings.
template <int width = 32>
__device__ __forceinline__ float warp_sum(float x SPECFORGE_CALLER) {
  static_assert(width > 0 && width <= 32 && (width & (width - 1)) == 0, "a power of two of at most 32");
#pragma unroll
  for (int distance = width / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance, 32 SPECFORGE_FROM_CALLER);
  return x;
}

template <int width = 32>
__device__ __forceinline__ float2 warp_sum(float2 x SPECFORGE_CALLER) {
  return make_float2(warp_sum<width>(x.x SPECFORGE_FROM_CALLER), warp_sum<width>(x.y SPECFORGE_FROM_CALLER));
}

// Wraps modulo 2^32.
__device__ __forceinline__ int warp_sum(int x SPECFORGE_CALLER) { return __reduce_add_sync(0xffffffffu, x SPECFORGE_FROM_CALLER); }

// A NaN loses to a number, -0 to +0.
template <int width = 32>
__device__ __forceinline__ float warp_max(float x SPECFORGE_CALLER) {
  static_assert(width > 0 && width <= 32 && (width & (width - 1)) == 0, "a power of two of at most 32");
#pragma unroll
  for (int distance = width / 2; distance > 0; distance /= 2)
    x = max(x, __shfl_xor_sync(0xffffffffu, x, distance, 32 SPECFORGE_FROM_CALLER));
  return x;
}

// The largest value and its index, of equal values the smallest index, in every lane. No NaN may be among them.
template <int width = 32>
__device__ __forceinline__ void warp_max_index(float& value, int& index SPECFORGE_CALLER) {
  static_assert(width > 0 && width <= 32 && (width & (width - 1)) == 0, "a power of two of at most 32");
#pragma unroll
  for (int distance = width / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, value, distance, 32 SPECFORGE_FROM_CALLER);
    const int its_index = __shfl_xor_sync(0xffffffffu, index, distance, 32 SPECFORGE_FROM_CALLER);
    if (other > value || (other == value && its_index < index)) value = other, index = its_index;
  }
}

// Lane i gets the sum of lanes 0 to i (of its run): at distances 1, 2, 4, ... a lane adds what the lane that far below holds.
template <int width = 32, typename T>
__device__ __forceinline__ T warp_scan(T x SPECFORGE_CALLER) {
  static_assert(width > 0 && width <= 32 && (width & (width - 1)) == 0, "a power of two of at most 32");
#pragma unroll
  for (int distance = 1; distance < width; distance *= 2) {
    const T below = __shfl_up_sync(0xffffffffu, x, distance, width SPECFORGE_FROM_CALLER);
    if (int(lane_id()) % width >= distance) x = below + x;
  }
  return x;
}

#endif
