// Matrix products of one warp on the tensor cores, and the transposition that turns a product's result into an operand.
//
// All are warp collectives: 32 lanes arrive together. With g = lane / 4 and t = lane % 4, a lane holds two neighbours of each
// matrix in one 32-bit register, the first in its lower half:
//   a (16 x 16)  a[0]: row g, columns 2t, 2t+1; a[1]: row g+8; a[2]: row g, columns 2t+8, 2t+9; a[3]: row g+8, the same
//   b (16 x 8)   b[0]: rows 2t, 2t+1 of column g; b[1]: rows 2t+8, 2t+9 of column g
//   d (16 x 8)   d[0], d[1]: row g, columns 2t, 2t+1; d[2], d[3]: row g+8
// and of bytes four neighbours, the first in the lowest bits:
//   a (16 x 32)  a[0]: row g, columns 4t to 4t+3; a[1]: row g+8; a[2]: row g, columns 4t+16 to 4t+19; a[3]: row g+8, the same
//   b (32 x 8)   b[0]: rows 4t to 4t+3 of column g; b[1]: rows 4t+16 to 4t+19
//   d            as above
#ifndef SPECFORGE_MMA_CUH
#define SPECFORGE_MMA_CUH

#include "specforge.cuh"

#ifndef SPECFORGE_EMULATOR

// d += a . b: products exact, their sum and d's aligned to the largest, added, and cut to f32. T: __nv_bfloat16 or __half.
template <typename T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

template <>
__device__ __forceinline__ void mma_m16n8k16<__nv_bfloat16>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void mma_m16n8k16<__half>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d += a . b of bytes, modulo 2^32. A and B: signed char or unsigned char.
template <typename A, typename B>
__device__ __forceinline__ void mma_m16n8k32(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

#define SPECFORGE_MULTIPLY(A, B, TYPES)                                                                                       \
  template <>                                                                                                                 \
  __device__ __forceinline__ void mma_m16n8k32<A, B>(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {           \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." TYPES ".s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"  \
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                                                                      \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                                  \
  }
SPECFORGE_MULTIPLY(signed char, signed char, "s8.s8")
SPECFORGE_MULTIPLY(signed char, unsigned char, "s8.u8")
SPECFORGE_MULTIPLY(unsigned char, signed char, "u8.s8")
SPECFORGE_MULTIPLY(unsigned char, unsigned char, "u8.u8")
#undef SPECFORGE_MULTIPLY

// The transpose of an 8 x 8 matrix of 16-bit elements: in row g, columns 2t, 2t+1; out the same of the transpose.
__device__ __forceinline__ unsigned transpose_8x8(unsigned pair) {
  unsigned turned;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(turned) : "r"(pair));
  return turned;
}

#endif

#endif
