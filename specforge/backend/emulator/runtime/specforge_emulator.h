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
#include "emulator_async.h"
#include "emulator_barrier.h"
#include "emulator_dependent.h"
#include "emulator_halves.h"
#include "emulator_machine.h"
#include "emulator_memory.h"
#include "emulator_mma.h"
#include "emulator_warp.h"

// ---- built-in variables ----

namespace specforge_emulator {
template <unsigned x_bits, unsigned y_bits>
inline uint3 unpack(uint64_t packed) {
  return {unsigned(packed & ((1u << x_bits) - 1)), unsigned(packed >> x_bits & ((1u << y_bits) - 1)), unsigned(packed >> (x_bits + y_bits))};
}
}  // namespace specforge_emulator

#define threadIdx (::specforge_emulator::unpack<10, 10>(::specforge_emulator::packed_thread()))
#define blockIdx (::specforge_emulator::unpack<31, 16>(::specforge_emulator::packed_block()))
#define blockDim (dim3(::specforge_emulator::unpack<11, 11>(::specforge_emulator::packed_block_extent())))
#define gridDim (dim3(::specforge_emulator::unpack<31, 16>(::specforge_emulator::packed_grid_extent())))
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
  T* const name = reinterpret_cast<T*>(::specforge_emulator::dynamic_shared_memory())

// ---- traps, assertions, clocks ----

namespace specforge_emulator {

[[noreturn]] inline void trap(const char* file, int line) {
  raise(fault_trap, "__trap (%s:%d)", file, line);
}
[[noreturn]] inline void assertion_failed(const char* text, const char* file, int line) {
  raise(fault_assert, "assertion `%s` failed (%s:%d)", text, file, line);
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

#if !SPECFORGE_OUTSIDE_BODIES

// Copies that the compiler turns into one load and store are seen as such; it calls the C library for others, unseen.
namespace specforge_emulator {
extern "C" void* specforge_memcpy(void* to, const void* from, size_t bytes) __attribute__((visibility("hidden")));
extern "C" void* specforge_memmove(void* to, const void* from, size_t bytes) __attribute__((visibility("hidden")));
extern "C" void* specforge_memset(void* to, int value, size_t bytes) __attribute__((visibility("hidden")));
__attribute__((always_inline)) inline bool at_once(size_t bytes) {
  return __builtin_constant_p(bytes) && (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16);
}
}  // namespace specforge_emulator
#define memcpy(to, from, bytes) \
  (::specforge_emulator::at_once(bytes) ? __builtin_memcpy(to, from, bytes) : ::specforge_emulator::specforge_memcpy(to, from, bytes))
#define memmove(to, from, bytes) ::specforge_emulator::specforge_memmove(to, from, bytes)
#define memset(to, value, bytes) ::specforge_emulator::specforge_memset(to, value, bytes)

#endif

#endif
