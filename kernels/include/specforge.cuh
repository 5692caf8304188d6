// What every kernel template includes first: half and bfloat16, and shared memory whose size the launch decides.
#ifndef SPECFORGE_CUH
#define SPECFORGE_CUH

#ifdef SPECFORGE_EMULATOR

#include <specforge_emulator.h>

// Last parameter, and last argument, of functions of these headers that meet other threads: the emulator names the line that
// called them, not a line of theirs.
#define SPECFORGE_CALLER , SPECFORGE_SITE
#define SPECFORGE_FROM_CALLER , file, line

#else

#define SPECFORGE_CALLER
#define SPECFORGE_FROM_CALLER

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// NVRTC has no <math.h>; the host has, so both compile the same source.
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif

// Declares `T* const name`: the launch's dynamic shared memory, aligned to 16 bytes. One block of memory per launch, so a
// kernel that needs several arrays splits one declaration by offsets.
#define DYNAMIC_SHARED(T, name)                                                                \
  static_assert(alignof(T) <= 16, "dynamic shared memory is aligned to 16 bytes");             \
  extern __shared__ __align__(16) unsigned char specforge_dynamic_shared[];                    \
  T* const name = reinterpret_cast<T*>(specforge_dynamic_shared)

#endif

#ifdef SPECFORGE_PARITY
#include "parity.cuh"
#endif

#endif
