// Loads of 8 x 8 matrices of 16-bit elements from shared memory, laid out among a warp's lanes as mma.cuh wants its operands.
//
// A warp collective. Lane 8 m + r gives the address of row r of matrix m: 16 bytes, aligned to 16, in shared memory. Of one
// matrix or two the addresses of lanes from 8 or 16 on are not looked at. Lane 4 g + t gets of every matrix the elements 2t and
// 2t + 1 of row g, the first in the lower half of a word; with `transposed` of column g, rows 2t and 2t + 1.
#ifndef SPECFORGE_LDMATRIX_CUH
#define SPECFORGE_LDMATRIX_CUH

#include "specforge.cuh"

#ifndef SPECFORGE_EMULATOR

template <bool transposed = false>
__device__ __forceinline__ void ldmatrix(unsigned (&words)[1], const void* row) {
  const unsigned address = unsigned(__cvta_generic_to_shared(row));
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(words[0]) : "r"(address) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(words[0]) : "r"(address) : "memory");
}

template <bool transposed = false>
__device__ __forceinline__ void ldmatrix(unsigned (&words)[2], const void* row) {
  const unsigned address = unsigned(__cvta_generic_to_shared(row));
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1]) : "r"(address) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1]) : "r"(address) : "memory");
}

template <bool transposed = false>
__device__ __forceinline__ void ldmatrix(unsigned (&words)[4], const void* row) {
  const unsigned address = unsigned(__cvta_generic_to_shared(row));
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(address) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(address) : "memory");
}

#endif

#endif
