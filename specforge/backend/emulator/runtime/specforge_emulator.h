// The emulator's side of specforge.cuh: CUDA's language and device library for a host C++ compiler.
#ifndef SPECFORGE_EMULATOR_H
#define SPECFORGE_EMULATOR_H

#include <assert.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <utility>

#include <vector_types.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector_functions.h>

#include "emulator_arithmetic.h"
#include "emulator_halves.h"
#include "emulator_machine.h"
#include "emulator_memory.h"
#include "emulator_mma.h"
#include "emulator_warp.h"

// ---- built-in variables ----

#define threadIdx (::specforge_emulator::running->index)
#define blockIdx (::specforge_emulator::block_index)
#define blockDim (::specforge_emulator::block_extent)
#define gridDim (::specforge_emulator::grid_extent)
constexpr int warpSize = 32;

// ---- qualifiers. NVIDIA's headers define some of them for the host as nothing or as attributes that it would ignore. ----

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __shared__
#undef __managed__       // not emulated: must not compile
#undef __cluster_dims__  // not emulated: must not compile
#undef __block_size__    // not emulated: must not compile
#undef __launch_bounds__
#undef __maxnreg__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __launch_bounds__(...)
#define __maxnreg__(count)
#define __grid_constant__

// Thread-local storage of this library holds nothing but shared memory: every shared variable of every function and template
// lies in one block whose address and size the loader knows, so it can be poisoned before each block of threads.
#define __shared__ thread_local

// C++ does not let alignas stand after __shared__, CUDA does; a GNU attribute may stand anywhere, but takes no type.
namespace specforge_emulator {
template <typename T>
constexpr size_t alignment() {
  return alignof(T);
}
template <size_t bytes>
constexpr size_t alignment() {
  return bytes;
}
}  // namespace specforge_emulator
#define alignas(...) __attribute__((aligned(::specforge_emulator::alignment<__VA_ARGS__>())))

#define DYNAMIC_SHARED(T, name)                                                                     \
  static_assert(alignof(T) <= 16, "dynamic shared memory is aligned to 16 bytes");                  \
  T* const name = reinterpret_cast<T*>(::specforge_emulator::dynamic_shared)

// ---- traps, assertions, clocks ----

namespace specforge_emulator {

[[noreturn]] inline void trap(const char* file, int line) {
  raise(fault_trap, "__trap (%s:%d)", file, line);
}
[[noreturn]] inline void assertion_failed(const char* text, const char* file, int line) {
  raise(fault_assert, "assertion `%s` failed (%s:%d)", text, file, line);
}

/// Counts calls, so that a loop waiting for time to pass ends. It says nothing about time.
inline long long tick() {
  static long long count;
  yield();
  return count += 1000;
}
inline int tick32() { return int(tick()); }

}  // namespace specforge_emulator

[[noreturn]] inline void __trap(SPECFORGE_SITE) { specforge_emulator::trap(file, line); }
inline void __brkpt(SPECFORGE_SITE) { specforge_emulator::trap(file, line); }
inline long long clock64() { return specforge_emulator::tick(); }
#define clock specforge_emulator::tick32

#undef assert
#ifdef NDEBUG
#define assert(...) ((void)0)
#else
#define assert(...) ((__VA_ARGS__) ? (void)0 : ::specforge_emulator::assertion_failed(#__VA_ARGS__, __FILE__, __LINE__))
#endif

#endif
