// Loads of what a kernel reads once.
#ifndef SPECFORGE_STREAM_CUH
#define SPECFORGE_STREAM_CUH

#include "specforge.cuh"

// 16 aligned bytes that nothing writes while the kernel runs. L1 does not keep them, and L2 may ask the memory for the whole
// 256 bytes around them at once, also when a warp takes only a part of those.
__device__ __forceinline__ uint4 load_once(const void* from) {
#ifdef SPECFORGE_EMULATOR
  return *static_cast<const uint4*>(from);
#else
  uint4 words;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "l"(from));
  return words;
#endif
}

#endif
