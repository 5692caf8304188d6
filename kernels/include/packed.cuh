// Two floats at a time. Each half is rounded once to nearest, ties to even, subnormals kept: the same bits as fmaf, + and *.
// From sm_100 one instruction; before that two.
#ifndef SPECFORGE_PACKED_CUH
#define SPECFORGE_PACKED_CUH

#include "specforge.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000

#define SPECFORGE_PACK(NAME, ...)                                                                                 \
  "{ .reg .b64 x, y, z; mov.b64 x, {%2, %3}; mov.b64 y, {%4, %5}; " __VA_ARGS__ NAME " mov.b64 {%0, %1}, x; }"

__device__ __forceinline__ float2 fma_f32x2(float2 a, float2 b, float2 c) {
  float2 d;
  asm(SPECFORGE_PACK("fma.rn.f32x2 x, x, y, z;", "mov.b64 z, {%6, %7}; ")
      : "=f"(d.x), "=f"(d.y) : "f"(a.x), "f"(a.y), "f"(b.x), "f"(b.y), "f"(c.x), "f"(c.y));
  return d;
}
__device__ __forceinline__ float2 add_f32x2(float2 a, float2 b) {
  float2 d;
  asm(SPECFORGE_PACK("add.rn.f32x2 x, x, y;") : "=f"(d.x), "=f"(d.y) : "f"(a.x), "f"(a.y), "f"(b.x), "f"(b.y));
  return d;
}
__device__ __forceinline__ float2 mul_f32x2(float2 a, float2 b) {
  float2 d;
  asm(SPECFORGE_PACK("mul.rn.f32x2 x, x, y;") : "=f"(d.x), "=f"(d.y) : "f"(a.x), "f"(a.y), "f"(b.x), "f"(b.y));
  return d;
}
#undef SPECFORGE_PACK

#else

__device__ __forceinline__ float2 fma_f32x2(float2 a, float2 b, float2 c) {
  return make_float2(__fmaf_rn(a.x, b.x, c.x), __fmaf_rn(a.y, b.y, c.y));
}
__device__ __forceinline__ float2 add_f32x2(float2 a, float2 b) { return make_float2(__fadd_rn(a.x, b.x), __fadd_rn(a.y, b.y)); }
__device__ __forceinline__ float2 mul_f32x2(float2 a, float2 b) { return make_float2(__fmul_rn(a.x, b.x), __fmul_rn(a.y, b.y)); }

#endif

#endif
