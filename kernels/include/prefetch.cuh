// Asking caches for global memory before it is read. Nothing waits and no value changes, so the CPU does nothing; an address
// outside any buffer is not even an error on a card.
#ifndef SPECFORGE_PREFETCH_CUH
#define SPECFORGE_PREFETCH_CUH

#include "specforge.cuh"

#ifdef SPECFORGE_EMULATOR

inline void prefetch_l1(const void*) {}
inline void prefetch_l2(const void*) {}
inline void prefetch_l2(const void*, unsigned) {}

#else

// The cache line at the address, into L1 and L2.
__device__ __forceinline__ void prefetch_l1(const void* from) { asm volatile("prefetch.global.L1 [%0];" : : "l"(from)); }

// The same into L2 alone.
__device__ __forceinline__ void prefetch_l2(const void* from) { asm volatile("prefetch.global.L2 [%0];" : : "l"(from)); }

// `bytes` from there, both multiples of 16, by one thread: one instruction from sm_90, before that one for every 128 bytes.
__device__ __forceinline__ void prefetch_l2(const void* from, unsigned bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" : : "l"(from), "r"(bytes) : "memory");
#else
  for (unsigned done = 0; done < bytes; done += 128) prefetch_l2(static_cast<const char*>(from) + done);
#endif
}

#endif

#endif
