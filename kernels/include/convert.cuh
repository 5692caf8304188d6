// Conversions between packed small types and floats. In a word the first element has the lowest bits. Rounding is to nearest,
// ties to even; what a conversion does not round it keeps exactly. A NaN stays a NaN, its payload may change.
#ifndef SPECFORGE_CONVERT_CUH
#define SPECFORGE_CONVERT_CUH

#include "bits.cuh"

// ---- pairs of bfloat16 and half ----

// Beyond the largest finite value: infinity.
__device__ __forceinline__ unsigned pack_bf16(float first, float second) {
#ifdef SPECFORGE_EMULATOR
  return unsigned(specforge_emulator::to_bits(__floats2bfloat162_rn(first, second)));
#else
  unsigned word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  return word;
#endif
}

__device__ __forceinline__ unsigned pack_f16(float first, float second) {
#ifdef SPECFORGE_EMULATOR
  return unsigned(specforge_emulator::to_bits(__floats2half2_rn(first, second)));
#else
  unsigned word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  return word;
#endif
}

__device__ __forceinline__ float2 unpack_bf16(unsigned pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}

// One half by its bits: how quantised blocks store their scales.
__device__ __forceinline__ float unpack_half(unsigned short bits) { return __half2float(__ushort_as_half(bits)); }

__device__ __forceinline__ float2 unpack_f16(unsigned pair) {
  return make_float2(unpack_half((unsigned short)pair), unpack_half((unsigned short)(pair >> 16)));
}

// ---- bytes and nibbles. A number is put into the lower bits of a float's or half's significand, where a power of two is the
// exponent, and that power is subtracted: exact, and faster than a card's conversions from integers. ----

__device__ __forceinline__ float4 unpack_u8(unsigned bytes) {
  const unsigned power = 0x4b000000u;  // 2^23
  return make_float4(__uint_as_float(prmt(bytes, power, 0x7650)) - 8388608.0f, __uint_as_float(prmt(bytes, power, 0x7651)) - 8388608.0f,
                     __uint_as_float(prmt(bytes, power, 0x7652)) - 8388608.0f, __uint_as_float(prmt(bytes, power, 0x7653)) - 8388608.0f);
}

__device__ __forceinline__ float4 unpack_s8(unsigned bytes) {
  const float4 lifted = unpack_u8(bytes ^ 0x80808080u);  // each is 128 more
  return make_float4(lifted.x - 128.0f, lifted.y - 128.0f, lifted.z - 128.0f, lifted.w - 128.0f);
}

// halves[i]: elements 2 i and 2 i + 1.
__device__ __forceinline__ void unpack_u8(unsigned bytes, __half2 (&halves)[2]) {
  const unsigned power = 0x64646464u;  // its upper byte in a half is 1024
  for (int i = 0; i < 2; ++i) {
    const unsigned lifted = prmt(bytes, power, i == 0 ? 0x5150 : 0x5352);
    halves[i] = __hsub2(*reinterpret_cast<const __half2*>(&lifted), __float2half2_rn(1024.0f));
  }
}

__device__ __forceinline__ void unpack_s8(unsigned bytes, __half2 (&halves)[2]) {
  const unsigned power = 0x64646464u;
  for (int i = 0; i < 2; ++i) {
    const unsigned lifted = prmt(bytes ^ 0x80808080u, power, i == 0 ? 0x5150 : 0x5352);
    halves[i] = __hsub2(*reinterpret_cast<const __half2*>(&lifted), __float2half2_rn(1152.0f));
  }
}

// Eight numbers of 0 to 15: pairs[i] holds nibble i and nibble i + 4 (nibble i is bits 4 i to 4 i + 3).
__device__ __forceinline__ void unpack_u4(unsigned nibbles, __half2 (&pairs)[4]) {
  for (int i = 0; i < 4; ++i) {
    const unsigned lifted = lop3<0xea>(nibbles >> 4 * i, 0x000f000fu, 0x64006400u);  // 1024 + n
    pairs[i] = __hsub2(*reinterpret_cast<const __half2*>(&lifted), __float2half2_rn(1024.0f));
  }
}

__device__ __forceinline__ void unpack_u4(unsigned nibbles, __nv_bfloat162 (&pairs)[4]) {
  for (int i = 0; i < 4; ++i) {
    const unsigned lifted = lop3<0xea>(nibbles >> 4 * i, 0x000f000fu, 0x43004300u);  // 128 + n
    pairs[i] = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&lifted), __float2bfloat162_rn(128.0f));
  }
}

// ---- to bytes ----

// Rounded, then cut to -128..127; a NaN becomes 0.
__device__ __forceinline__ int round_s8(float x) {
#ifdef SPECFORGE_EMULATOR
  const float rounded = __builtin_nearbyintf(x);
  return x != x ? 0 : rounded < -128.0f ? -128 : rounded > 127.0f ? 127 : int(rounded);
#else
  int byte;
  asm("cvt.rni.sat.s8.f32 %0, %1;" : "=r"(byte) : "f"(x));
  return byte;
#endif
}

// Four of them in a word, x in its lowest byte. To quantise a block symmetrically multiply by 127 / (largest magnitude) first.
__device__ __forceinline__ unsigned pack_s8(float4 x) {
  const unsigned low = prmt(unsigned(round_s8(x.x)), unsigned(round_s8(x.y)), 0x0040);
  const unsigned high = prmt(unsigned(round_s8(x.z)), unsigned(round_s8(x.w)), 0x0040);
  return prmt(low, high, 0x5410);
}

#endif
