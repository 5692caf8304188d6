// Products of 8-bit floats, e4m3 (4 bits of exponent, 3 of fraction; 448 is the largest, 0x7f and 0xff are NaN), on the tensor
// cores. Bytes lie among a warp's lanes as mma.cuh says of bytes.
//
// Precision. Elements and products are exact in f32. A card may keep as few as 14 bits of their sum: count on an error of
//            2^-13 of the sum of magnitudes for each product, and on exact sums of whole numbers below 2^13. The CPU and cards
//            without the instruction widen the bytes to halves, exactly, and make two products of those (below sm_89 here;
//            ptxas does so for sm_90, 100 and 110).
#ifndef SPECFORGE_MMA_E4M3_CUH
#define SPECFORGE_MMA_E4M3_CUH

#include "mma.cuh"

// The half of the same value, by its bits.
__device__ __forceinline__ unsigned widen_e4m3(unsigned byte) {
  const unsigned size = byte & 0x7f;
  const unsigned small = unsigned(0x232221201e1c1800ull >> 8 * (size & 7)) << 8 & 0xff00u;  // 0 to 7 times 2^-9
  const unsigned half = size < 8 ? small : size == 0x7f ? 0x7fffu : (size << 7) + 0x2000u;  // the exponents' biases differ by 8
  return half | (byte & 0x80) << 8;
}

// Two of a word's bytes, the lower or the upper two.
__device__ __forceinline__ unsigned widen_e4m3(unsigned bytes, bool upper) {
  const unsigned both = upper ? bytes >> 16 : bytes;
  return widen_e4m3(both & 0xff) | widen_e4m3(both >> 8 & 0xff) << 16;
}

// d += a . b
#if defined(SPECFORGE_EMULATOR) || __CUDA_ARCH__ < 890

// Which of the 32 columns are which of two times 16 is free as long as both operands agree.
__device__ __forceinline__ void mma_m16n8k32_e4m3(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2] SPECFORGE_CALLER) {
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    const unsigned a_low = a[part * 2], a_high = a[part * 2 + 1];
    const unsigned a_halves[4] = {widen_e4m3(a_low, false), widen_e4m3(a_high, false), widen_e4m3(a_low, true), widen_e4m3(a_high, true)};
    const unsigned b_halves[2] = {widen_e4m3(b[part], false), widen_e4m3(b[part], true)};
    mma_m16n8k16<__half>(d, a_halves, b_halves SPECFORGE_FROM_CALLER);
  }
}

#else

__device__ __forceinline__ void mma_m16n8k32_e4m3(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

#endif
