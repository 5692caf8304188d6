// Global loads and stores that say how long caches shall keep what they move. Hints change speed, never the value. W is any
// type of 4, 8 or 16 bytes, at an address that is a multiple of its size. (CUDA itself names __ldg, __ldcs, __stcs and others.)
#ifndef SPECFORGE_STREAM_CUH
#define SPECFORGE_STREAM_CUH

#include "specforge.cuh"

#ifdef SPECFORGE_EMULATOR

inline uint4 load_once(const void* from) { return *static_cast<const uint4*>(from); }

#define SPECFORGE_WIDTH static_assert(sizeof(W) == 4 || sizeof(W) == 8 || sizeof(W) == 16, "4, 8 or 16 bytes")

template <typename W>
inline W load_streamed(const W* from) {
  SPECFORGE_WIDTH;
  return *from;
}

template <typename W>
inline W load_kept(const W* from) {
  SPECFORGE_WIDTH;
  return *from;
}

template <typename W>
inline void store_streamed(W* to, W value) {
  SPECFORGE_WIDTH;
  *to = value;
}

struct CachePolicy {
  unsigned long long bits;
};
inline CachePolicy evict_first() { return {0}; }
inline CachePolicy evict_last() { return {0}; }

template <typename W>
inline W load_under(CachePolicy, const W* from) {
  SPECFORGE_WIDTH;
  return *from;
}
template <typename W>
inline void store_under(CachePolicy, W* to, W value) {
  SPECFORGE_WIDTH;
  *to = value;
}
#undef SPECFORGE_WIDTH

#else

// 16 aligned bytes that nothing writes while the kernel runs. L1 does not keep them, and L2 may ask the memory for the whole
// 256 bytes around them at once, also when a warp takes only a part of those.
__device__ __forceinline__ uint4 load_once(const void* from) {
  uint4 words;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "l"(from));
  return words;
}

// In the three widths. PLACEs stand for the policy's operand and the rest for its value; all empty without one. ORDER keeps a load
// behind the program's earlier stores, which one of what nothing writes does not need.
#define SPECFORGE_LOAD(INSTRUCTION, ORDER, PLACE1, PLACE2, PLACE4, ...)                                                               \
  unsigned words[sizeof(W) / 4];                                                                                               \
  static_assert(sizeof(W) == 4 || sizeof(W) == 8 || sizeof(W) == 16, "4, 8 or 16 bytes");                                      \
  if constexpr (sizeof(W) == 4)                                                                                                \
    asm volatile(INSTRUCTION ".u32 %0, [%1]" PLACE1 ";" : "=r"(words[0]) : "l"(from) __VA_ARGS__ ORDER);                  \
  else if constexpr (sizeof(W) == 8)                                                                                           \
    asm volatile(INSTRUCTION ".v2.u32 {%0,%1}, [%2]" PLACE2 ";"                                                                \
                 : "=r"(words[0]), "=r"(words[1]) : "l"(from) __VA_ARGS__ ORDER);                                         \
  else                                                                                                                         \
    asm volatile(INSTRUCTION ".v4.u32 {%0,%1,%2,%3}, [%4]" PLACE4 ";"                                                          \
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "l"(from) __VA_ARGS__ ORDER);         \
  W value;                                                                                                                     \
  memcpy(&value, words, sizeof(W));                                                                                            \
  return value
#define SPECFORGE_STORE(INSTRUCTION, PLACE1, PLACE2, PLACE4, ...)                                                              \
  unsigned words[sizeof(W) / 4];                                                                                               \
  static_assert(sizeof(W) == 4 || sizeof(W) == 8 || sizeof(W) == 16, "4, 8 or 16 bytes");                                      \
  memcpy(words, &value, sizeof(W));                                                                                            \
  if constexpr (sizeof(W) == 4)                                                                                                \
    asm volatile(INSTRUCTION ".u32 [%0], %1" PLACE1 ";" : : "l"(to), "r"(words[0]) __VA_ARGS__ : "memory");                    \
  else if constexpr (sizeof(W) == 8)                                                                                           \
    asm volatile(INSTRUCTION ".v2.u32 [%0], {%1,%2}" PLACE2 ";" : : "l"(to), "r"(words[0]), "r"(words[1]) __VA_ARGS__ : "memory"); \
  else                                                                                                                         \
    asm volatile(INSTRUCTION ".v4.u32 [%0], {%1,%2,%3,%4}" PLACE4 ";"                                                          \
                 : : "l"(to), "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3]) __VA_ARGS__ : "memory")

// What nothing writes while the kernel runs, read once: L1 does not keep it, L2 fetches 128 bytes at a time.
template <typename W>
__device__ __forceinline__ W load_streamed(const W* from) {
  SPECFORGE_LOAD("ld.global.nc.L1::no_allocate.L2::128B", , "", "", "");
}
// What will be read again soon: the last that L1 gives up.
template <typename W>
__device__ __forceinline__ W load_kept(const W* from) {
  SPECFORGE_LOAD("ld.global.L1::evict_last", : "memory", "", "", "");
}
// What this multiprocessor will not read: L1 does not keep it.
template <typename W>
__device__ __forceinline__ void store_streamed(W* to, W value) {
  SPECFORGE_STORE("st.global.L1::no_allocate", "", "", "");
}

// How L2 shall treat all that is moved under it: the first, or the last, to be given up.
struct CachePolicy {
  unsigned long long bits;
};
__device__ __forceinline__ CachePolicy evict_first() {
  CachePolicy policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy.bits));
  return policy;
}
__device__ __forceinline__ CachePolicy evict_last() {
  CachePolicy policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy.bits));
  return policy;
}
template <typename W>
__device__ __forceinline__ W load_under(CachePolicy policy, const W* from) {
  SPECFORGE_LOAD("ld.global.L2::cache_hint", : "memory", ", %2", ", %3", ", %5", , "l"(policy.bits));
}
template <typename W>
__device__ __forceinline__ void store_under(CachePolicy policy, W* to, W value) {
  SPECFORGE_STORE("st.global.L2::cache_hint", ", %2", ", %3", ", %5", , "l"(policy.bits));
}
#undef SPECFORGE_LOAD
#undef SPECFORGE_STORE

#endif

#endif
