// Any function of three words bit by bit, and any choice of four bytes out of eight: one instruction each.
#ifndef SPECFORGE_BITS_CUH
#define SPECFORGE_BITS_CUH

#include "specforge.cuh"

// Bit i of the result is bit (4 a_i + 2 b_i + c_i) of `table`. The table of an expression is the expression itself of
// a = 0xf0, b = 0xcc, c = 0xaa: 0xea is (a & b) | c.
template <unsigned table>
__device__ __forceinline__ unsigned lop3(unsigned a, unsigned b, unsigned c) {
  static_assert(table < 256, "a function of three bits has a table of eight");
#ifdef SPECFORGE_EMULATOR
  unsigned result = 0;
  for (unsigned row = 0; row < 8; ++row)
    if (table >> row & 1) result |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  return result;
#else
  unsigned result;
  asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(result) : "r"(a), "r"(b), "r"(c), "n"(table));
  return result;
#endif
}

// Byte i of the result is the byte that nibble i of the selector names: 0 to 3 of a, 4 to 7 of b. With the nibble's highest
// bit set, its sign instead: 0xff where the byte's highest bit is set, else 0. Selector bits above 15 are ignored.
// (CUDA's __byte_perm ignores the nibbles' highest bits.)
__device__ __forceinline__ unsigned prmt(unsigned a, unsigned b, unsigned selector) {
#ifdef SPECFORGE_EMULATOR
  const unsigned long long bytes = (unsigned long long)b << 32 | a;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> 4 * i & 15, byte = unsigned(bytes >> (nibble & 7) * 8 & 0xff);
    result |= (nibble & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << 8 * i;
  }
  return result;
#else
  unsigned result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(selector));
  return result;
#endif
}

#endif
