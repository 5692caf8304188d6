// Parts of GGUF's quantised blocks, four elements to a word.
//   Q8_0  34 bytes, 32 elements: f16 d; 32 s8. value = d q
//   Q4_K 144 bytes, 256 elements: f16 d, f16 dmin; 12 bytes of scales and mins; 128 of nibbles, byte 32 j + l of which holds
//        elements 64 j + l (lower) and 64 j + 32 + l (upper). value = d scale[e / 32] q - dmin min[e / 32]
//   Q6_K 210 bytes, 256 elements: 128 bytes ql; 64 bytes qh; 16 s8 scales; f16 d. value = d scale[e / 16] (q - 32)
#ifndef SPECFORGE_GGUF_CUH
#define SPECFORGE_GGUF_CUH

#include "specforge.cuh"

// Four bytes at an even address: blocks of 34 and 210 bytes promise no more.
__device__ __forceinline__ unsigned load_even(const void* from) {
  const auto* const halves = static_cast<const unsigned short*>(from);
  return halves[0] | unsigned(halves[1]) << 16;
}

// Q4_K's 12 bytes, as three words, into 8 scales and 8 mins of 0 to 63: byte i of word j belongs to elements 32 (4 j + i) and on.
__device__ __forceinline__ void q4k_scales(const unsigned (&packed)[3], unsigned (&scales)[2], unsigned (&mins)[2]) {
  scales[0] = packed[0] & 0x3f3f3f3fu;
  mins[0] = packed[1] & 0x3f3f3f3fu;
  scales[1] = (packed[2] & 0x0f0f0f0fu) | (packed[0] >> 2 & 0x30303030u);
  mins[1] = (packed[2] >> 4 & 0x0f0f0f0fu) | (packed[1] >> 2 & 0x30303030u);
}

// Four elements q - 32 of Q6_K as signed bytes. Elements 128 n + 32 part + l and on, with part 0 to 3 and l a multiple of 4
// below 32, are in the words ql at byte 64 n + 32 (part % 2) + l and qh at byte 32 n + l.
__device__ __forceinline__ unsigned q6k_values(unsigned ql, unsigned qh, int part) {
  const unsigned q = (ql >> part / 2 * 4 & 0x0f0f0f0fu) | (qh >> part * 2 & 0x03030303u) << 4;
  return ((q | 0x80808080u) - 0x20202020u) ^ 0x80808080u;  // no byte borrows from its neighbour
}

#endif
