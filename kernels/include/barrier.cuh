// Barriers for a part of a block's warps: producers and consumers need not stop everybody.
//
// `id` is 1 to 15 (0 is __syncthreads'), `threads` a multiple of 32: how many threads, of warps that sync and of warps that
// only arrive, complete the barrier; it then starts anew. All lanes of a warp call together and with the same numbers, and all
// uses of a barrier until it completes name the same `threads`. What a thread wrote before it arrived or synced is seen by
// those that come out of the sync.
#ifndef SPECFORGE_BARRIER_CUH
#define SPECFORGE_BARRIER_CUH

#include "specforge.cuh"

#ifndef SPECFORGE_EMULATOR

// Waits for the barrier to complete.
__device__ __forceinline__ void barrier_sync(unsigned id, unsigned threads) {
  asm volatile("bar.sync %0, %1;" : : "r"(id), "r"(threads) : "memory");
}

// Counts, and goes on. The same warp may arrive at it again only after a barrier tells it that this one has completed.
__device__ __forceinline__ void barrier_arrive(unsigned id, unsigned threads) {
  asm volatile("bar.arrive %0, %1;" : : "r"(id), "r"(threads) : "memory");
}

#endif

#endif
