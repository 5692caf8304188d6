// Atomics, cached loads and stores, fences. Threads are interleaved, never simultaneous: a plain read-modify-write is atomic.
// One that changes nothing (a failed exchange, an addition of zero) lets the other threads run, so that a loop that waits
// for memory makes progress; minimum and maximum often change nothing and are never waited on.
#ifndef SPECFORGE_EMULATOR_MEMORY_H
#define SPECFORGE_EMULATOR_MEMORY_H

#include <string.h>

#include "emulator_machine.h"

namespace specforge_emulator {

#if !SPECFORGE_OUTSIDE_BODIES

/// An atomic is one access, and none of the kernel's plain ones.
template <bool may_wait = true, typename T, typename Step>
inline T update(T* address, Step step) {
  shadow_atomic(address, sizeof(T), nullptr);
  T old;
  raw_copy(&old, address, sizeof(T));
  const T next = step(old);
  raw_store(address, &next, sizeof(T));
  if (may_wait && __builtin_memcmp(&old, &next, sizeof old) == 0) shadow_poll(address, 1, nullptr);
  return old;
}

#else

template <bool may_wait = true, typename T, typename Step>
inline T update(T* address, Step step) {
  const T old = *address;
  const T next = step(old);
  *address = next;
  if (may_wait && memcmp(&old, &next, sizeof old) == 0) yield();
  return old;
}

#endif

}  // namespace specforge_emulator

#define SPECFORGE_ATOMIC_THAT(WAITS, NAME, T, EXPRESSION)                                       \
  inline T NAME(T* address, T value) {                                                          \
    return specforge_emulator::update<WAITS>(address, [=](T old) -> T { return EXPRESSION; });  \
  }                                                                                             \
  inline T NAME##_block(T* address, T value) { return NAME(address, value); }                   \
  inline T NAME##_system(T* address, T value) { return NAME(address, value); }
#define SPECFORGE_ATOMIC(NAME, T, EXPRESSION) SPECFORGE_ATOMIC_THAT(true, NAME, T, EXPRESSION)

SPECFORGE_ATOMIC(atomicAdd, int, int(unsigned(old) + unsigned(value)))
SPECFORGE_ATOMIC(atomicAdd, unsigned, old + value)
SPECFORGE_ATOMIC(atomicAdd, unsigned long long, old + value)
SPECFORGE_ATOMIC(atomicAdd, float, old + value)
SPECFORGE_ATOMIC(atomicAdd, double, old + value)
SPECFORGE_ATOMIC(atomicAdd, __half, __hadd(old, value))
SPECFORGE_ATOMIC(atomicAdd, __half2, __hadd2(old, value))
SPECFORGE_ATOMIC(atomicAdd, __nv_bfloat16, __hadd(old, value))
SPECFORGE_ATOMIC(atomicAdd, __nv_bfloat162, __hadd2(old, value))
SPECFORGE_ATOMIC(atomicAdd, float2, make_float2(old.x + value.x, old.y + value.y))
SPECFORGE_ATOMIC(atomicAdd, float4, make_float4(old.x + value.x, old.y + value.y, old.z + value.z, old.w + value.w))
SPECFORGE_ATOMIC(atomicSub, int, int(unsigned(old) - unsigned(value)))
SPECFORGE_ATOMIC(atomicSub, unsigned, old - value)
SPECFORGE_ATOMIC(atomicExch, int, ((void)old, value))
SPECFORGE_ATOMIC(atomicExch, unsigned, ((void)old, value))
SPECFORGE_ATOMIC(atomicExch, unsigned long long, ((void)old, value))
SPECFORGE_ATOMIC(atomicExch, float, ((void)old, value))
SPECFORGE_ATOMIC(atomicInc, unsigned, old >= value ? 0u : old + 1u)
SPECFORGE_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1u)
#define SPECFORGE_ORDERED(T)                                            \
  SPECFORGE_ATOMIC_THAT(false, atomicMin, T, value < old ? value : old) \
  SPECFORGE_ATOMIC_THAT(false, atomicMax, T, value > old ? value : old)
SPECFORGE_ORDERED(int)
SPECFORGE_ORDERED(unsigned)
SPECFORGE_ORDERED(long long)
SPECFORGE_ORDERED(unsigned long long)
#undef SPECFORGE_ORDERED
#define SPECFORGE_BITWISE(T)                     \
  SPECFORGE_ATOMIC(atomicAnd, T, (T)(old & value)) \
  SPECFORGE_ATOMIC(atomicOr, T, (T)(old | value))  \
  SPECFORGE_ATOMIC(atomicXor, T, (T)(old ^ value))
SPECFORGE_BITWISE(int)
SPECFORGE_BITWISE(unsigned)
SPECFORGE_BITWISE(unsigned long long)
#undef SPECFORGE_BITWISE
#undef SPECFORGE_ATOMIC
#undef SPECFORGE_ATOMIC_THAT

#define SPECFORGE_COMPARE_AND_SWAP(T)                                                                           \
  inline T atomicCAS(T* address, T compare, T value) {                                                          \
    return specforge_emulator::update(address, [=](T old) -> T { return old == compare ? value : old; });       \
  }                                                                                                             \
  inline T atomicCAS_block(T* address, T compare, T value) { return atomicCAS(address, compare, value); }       \
  inline T atomicCAS_system(T* address, T compare, T value) { return atomicCAS(address, compare, value); }
SPECFORGE_COMPARE_AND_SWAP(int)
SPECFORGE_COMPARE_AND_SWAP(unsigned)
SPECFORGE_COMPARE_AND_SWAP(unsigned long long)
SPECFORGE_COMPARE_AND_SWAP(unsigned short)
#undef SPECFORGE_COMPARE_AND_SWAP

// What a cache policy changes is speed, never the value.
#define SPECFORGE_LOAD(NAME)       \
  template <typename T>            \
  inline T NAME(const T* address) { \
    return *address;               \
  }
SPECFORGE_LOAD(__ldg)
SPECFORGE_LOAD(__ldca)
SPECFORGE_LOAD(__ldcg)
SPECFORGE_LOAD(__ldcs)
SPECFORGE_LOAD(__ldcv)
SPECFORGE_LOAD(__ldlu)
#undef SPECFORGE_LOAD

namespace specforge_emulator {
template <typename T>
struct same_type {
  using type = T;
};
}  // namespace specforge_emulator

#define SPECFORGE_STORE(NAME)                                                             \
  template <typename T>                                                                   \
  inline void NAME(T* address, typename specforge_emulator::same_type<T>::type value) {   \
    *address = value;                                                                     \
  }
SPECFORGE_STORE(__stwb)
SPECFORGE_STORE(__stcg)
SPECFORGE_STORE(__stcs)
SPECFORGE_STORE(__stwt)
#undef SPECFORGE_STORE

inline void __threadfence() {
  asm volatile("" ::: "memory");
  specforge_emulator::order_fence();
}
inline void __threadfence_block() {
  asm volatile("" ::: "memory");
  specforge_emulator::order_fence_block();
}
inline void __threadfence_system() { __threadfence(); }

inline void __nanosleep(unsigned) { specforge_emulator::yield(); }

#endif
