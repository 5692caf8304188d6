// The block that comes last: each leaves its part in memory and counts, and the last to count goes on with all parts, in an
// order of its own choosing. The result does not depend on which block that is.
#ifndef SPECFORGE_LAST_BLOCK_CUH
#define SPECFORGE_LAST_BLOCK_CUH

#include "specforge.cuh"

// Whether the caller is the last of `blocks` to count. `counted` is 0 before the first launch and again after each: the last
// count wraps. One thread of a block calls, behind a barrier behind what the block leaves; behind another barrier any thread of
// the last block sees all of it, with loads that pass L1 by (__ldcg). One instruction with one fence, where __threadfence()
// before and after an atomicInc are two, of the dearest kind.
__device__ __forceinline__ bool is_last_block(unsigned* counted, unsigned blocks) {
#ifdef SPECFORGE_EMULATOR
  __threadfence();
  const unsigned before = atomicInc(counted, blocks - 1);
  __threadfence();
#else
  unsigned before;
  asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(counted), "r"(blocks - 1) : "memory");
#endif
  return before == blocks - 1;
}

#endif
