// Copies from global to shared memory that run beside the thread that asked for them.
//
// Order. A thread's copies form groups: cp_async_commit() closes the group of all copies since the last one. Between the copy
//        and the end of a wait that covers it nobody may touch the destination or write the source, and the destination holds
//        nothing that could be relied upon. After the wait the thread that asked for the copy sees it; others see it after a
//        barrier behind that wait. A thread that exits does not wait: those copies never count as done.
// Limits. Both addresses are multiples of `bytes` (4, 8 or 16); the destination is shared, the source global memory.
//
// The emulator takes the destination's old content away at the copy and writes the new one in the wait, not before: a
// missing wait, and a buffer that is refilled while somebody still reads it, both show.
#ifndef SPECFORGE_ASYNC_CUH
#define SPECFORGE_ASYNC_CUH

#include "specforge.cuh"

#ifndef SPECFORGE_EMULATOR

// The first `filled` bytes (of 0 to `bytes`) come from memory, the rest of the destination becomes zero; of the source no
// more is read. 16 bytes pass L1 by, 4 and 8 go through it.
template <unsigned bytes>
__device__ __forceinline__ void cp_async(void* to, const void* from, unsigned filled = bytes) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "4, 8 or 16 bytes");
  const unsigned address = unsigned(__cvta_generic_to_shared(to));
  if constexpr (bytes == 16)
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" : : "r"(address), "l"(from), "r"(filled) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" : : "r"(address), "l"(from), "n"(bytes), "r"(filled) : "memory");
}

// Closes the thread's group, which may be empty.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" : : : "memory"); }

// Waits until at most the `pending` groups that were closed last are under way.
template <unsigned pending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" : : "n"(pending) : "memory");
}

// Waits for all of the thread's copies, also of the group that is not closed.
__device__ __forceinline__ void cp_async_wait_all() { asm volatile("cp.async.wait_all;" : : : "memory"); }

#endif

#endif
