// Loads that are under way before grid_wait() returns.
//
// What lies behind a `const __restrict__` pointer, __ldg, load_once and load_streamed are loads of memory that nobody writes
// (ld.global.nc), and the assembler moves those behind the wait, where they hide nothing. These keep their place, as loads
// through other pointers and prefetches do. (Read in the machine code of CUDA 13.0 for sm_90, 110, 120 and 121.)
#ifndef SPECFORGE_AHEAD_CUH
#define SPECFORGE_AHEAD_CUH

#include "specforge.cuh"

// 4, 8 or 16 aligned bytes that no launch ahead writes, read once: L1 does not keep them, L2 fetches 128 bytes at a time.
template <typename W>
__device__ __forceinline__ W load_ahead(const W* from) {
  static_assert(sizeof(W) == 4 || sizeof(W) == 8 || sizeof(W) == 16, "4, 8 or 16 bytes");
#ifdef SPECFORGE_EMULATOR
  return *from;
#else
  unsigned words[sizeof(W) / 4];
  if constexpr (sizeof(W) == 4)
    asm volatile("ld.global.L1::no_allocate.L2::128B.u32 %0, [%1];" : "=r"(words[0]) : "l"(from) : "memory");
  else if constexpr (sizeof(W) == 8)
    asm volatile("ld.global.L1::no_allocate.L2::128B.v2.u32 {%0,%1}, [%2];" : "=r"(words[0]), "=r"(words[1]) : "l"(from) : "memory");
  else
    asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "l"(from)
                 : "memory");
  W value;
  memcpy(&value, words, sizeof(W));
  return value;
#endif
}

#endif
