// Dot products of four bytes. Each adds four products of bytes, which 16 bits hold, to a 32-bit sum, which wraps modulo 2^32.
// Byte i of a word is its bits 8 i to 8 i + 7. In a name the first type is a's bytes, the second b's: u8 0..255, s8 -128..127.
#ifndef SPECFORGE_DOT_CUH
#define SPECFORGE_DOT_CUH

#include "specforge.cuh"

#ifdef SPECFORGE_EMULATOR

namespace specforge_emulator {
template <typename A, typename B>
inline unsigned dot_of_bytes(unsigned a, unsigned b, unsigned sum) {
  for (unsigned i = 0; i < 32; i += 8) sum += unsigned(int(A(a >> i)) * int(B(b >> i)));
  return sum;
}
}  // namespace specforge_emulator
#define SPECFORGE_DOT(NAME, TYPES, SUM, A, B)                     \
  inline SUM NAME(unsigned a, unsigned b, SUM sum) {              \
    return SUM(specforge_emulator::dot_of_bytes<A, B>(a, b, sum)); \
  }

#else

#define SPECFORGE_DOT(NAME, TYPES, SUM, A, B)                                                \
  __device__ __forceinline__ SUM NAME(unsigned a, unsigned b, SUM sum) {                     \
    SUM total;                                                                               \
    asm("dp4a." TYPES " %0, %1, %2, %3;" : "=r"(total) : "r"(a), "r"(b), "r"(sum));          \
    return total;                                                                            \
  }

#endif

SPECFORGE_DOT(dp4a_s8s8, "s32.s32", int, signed char, signed char)
SPECFORGE_DOT(dp4a_u8u8, "u32.u32", unsigned, unsigned char, unsigned char)
SPECFORGE_DOT(dp4a_s8u8, "s32.u32", int, signed char, unsigned char)
SPECFORGE_DOT(dp4a_u8s8, "u32.s32", int, unsigned char, signed char)
#undef SPECFORGE_DOT

#endif
