// Barriers, votes, reductions and shuffles as CUDA names them. Every call knows its own line, for the report of a deadlock.
#ifndef SPECFORGE_EMULATOR_WARP_H
#define SPECFORGE_EMULATOR_WARP_H

#include <string.h>

#include "emulator_exchange.h"

#define SPECFORGE_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace specforge_emulator {

template <typename T>
inline uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  return bits;
}

template <typename T>
inline T from_bits(uint64_t bits) {
  T value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/// Exactly what shfl.sync does with lane, operand and segment; out of the segment a lane reads itself.
inline unsigned source_lane(Operation operation, unsigned lane, unsigned operand, unsigned width) {
  const unsigned first = lane & ~(width - 1), last = first + width - 1;
  operand &= 31;
  switch (operation) {
    case op_shuffle: return first | (operand & (width - 1));
    case op_shuffle_up: return lane >= first + operand ? lane - operand : lane;
    case op_shuffle_down: return lane + operand <= last ? lane + operand : lane;
    default: return (lane ^ operand) <= last ? lane ^ operand : lane;
  }
}

template <Operation operation, typename T>
inline T shuffle(unsigned mask, T value, unsigned operand, int width, const char* file, int line) {
  if (__builtin_expect(width <= 0 || width > 32 || (width & (width - 1)) != 0, 0)) raise_bad_width(operation, width, file, line);
  const unsigned source = source_lane(operation, lane_number(), operand, unsigned(width));
  return from_bits<T>(exchange(operation, mask, to_bits(value), source, sizeof(T), file, line));
}

inline unsigned vote(Operation operation, unsigned mask, uint64_t value, unsigned size, const char* file, int line) {
  return unsigned(exchange(operation, mask, value, 0, size, file, line));
}

}  // namespace specforge_emulator

#define SPECFORGE_SHUFFLES(T)                                                                                          \
  inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, SPECFORGE_SITE) {                             \
    return specforge_emulator::shuffle<specforge_emulator::op_shuffle>(mask, value, unsigned(lane), width, file, line); \
  }                                                                                                                    \
  inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SPECFORGE_SITE) {                    \
    return specforge_emulator::shuffle<specforge_emulator::op_shuffle_up>(mask, value, delta, width, file, line);      \
  }                                                                                                                    \
  inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SPECFORGE_SITE) {                  \
    return specforge_emulator::shuffle<specforge_emulator::op_shuffle_down>(mask, value, delta, width, file, line);    \
  }                                                                                                                    \
  inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, SPECFORGE_SITE) {                        \
    return specforge_emulator::shuffle<specforge_emulator::op_shuffle_xor>(mask, value, unsigned(lanes), width, file, line); \
  }
SPECFORGE_SHUFFLES(int)
SPECFORGE_SHUFFLES(unsigned)
SPECFORGE_SHUFFLES(long)
SPECFORGE_SHUFFLES(unsigned long)
SPECFORGE_SHUFFLES(long long)
SPECFORGE_SHUFFLES(unsigned long long)
SPECFORGE_SHUFFLES(float)
SPECFORGE_SHUFFLES(double)
SPECFORGE_SHUFFLES(__half)
SPECFORGE_SHUFFLES(__half2)
SPECFORGE_SHUFFLES(__nv_bfloat16)
SPECFORGE_SHUFFLES(__nv_bfloat162)
#undef SPECFORGE_SHUFFLES

#define SPECFORGE_MATCH(T)                                                                                             \
  inline unsigned __match_any_sync(unsigned mask, T value, SPECFORGE_SITE) {                                           \
    return specforge_emulator::vote(specforge_emulator::op_match_any, mask, specforge_emulator::to_bits(value), sizeof(T), file, line); \
  }                                                                                                                    \
  inline unsigned __match_all_sync(unsigned mask, T value, int* predicate, SPECFORGE_SITE) {                           \
    const unsigned same =                                                                                              \
        specforge_emulator::vote(specforge_emulator::op_match_all, mask, specforge_emulator::to_bits(value), sizeof(T), file, line); \
    *predicate = same != 0;                                                                                            \
    return same;                                                                                                       \
  }
SPECFORGE_MATCH(int)
SPECFORGE_MATCH(unsigned)
SPECFORGE_MATCH(long)
SPECFORGE_MATCH(unsigned long)
SPECFORGE_MATCH(long long)
SPECFORGE_MATCH(unsigned long long)
SPECFORGE_MATCH(float)
SPECFORGE_MATCH(double)
#undef SPECFORGE_MATCH

#define SPECFORGE_REDUCE(NAME, T, OPERATION)                                                                           \
  inline T NAME(unsigned mask, T value, SPECFORGE_SITE) {                                                              \
    return T(specforge_emulator::vote(specforge_emulator::OPERATION, mask, specforge_emulator::to_bits(value), 4, file, line)); \
  }
SPECFORGE_REDUCE(__reduce_add_sync, int, op_add)
SPECFORGE_REDUCE(__reduce_add_sync, unsigned, op_add)
SPECFORGE_REDUCE(__reduce_min_sync, int, op_min_signed)
SPECFORGE_REDUCE(__reduce_min_sync, unsigned, op_min_unsigned)
SPECFORGE_REDUCE(__reduce_max_sync, int, op_max_signed)
SPECFORGE_REDUCE(__reduce_max_sync, unsigned, op_max_unsigned)
SPECFORGE_REDUCE(__reduce_and_sync, unsigned, op_and)
SPECFORGE_REDUCE(__reduce_or_sync, unsigned, op_or)
SPECFORGE_REDUCE(__reduce_xor_sync, unsigned, op_xor)
#undef SPECFORGE_REDUCE

inline unsigned __ballot_sync(unsigned mask, int predicate, SPECFORGE_SITE) {
  return specforge_emulator::vote(specforge_emulator::op_ballot, mask, unsigned(predicate), 4, file, line);
}
inline int __any_sync(unsigned mask, int predicate, SPECFORGE_SITE) {
  return int(specforge_emulator::vote(specforge_emulator::op_any, mask, unsigned(predicate), 4, file, line));
}
inline int __all_sync(unsigned mask, int predicate, SPECFORGE_SITE) {
  return int(specforge_emulator::vote(specforge_emulator::op_all, mask, unsigned(predicate), 4, file, line));
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SPECFORGE_SITE) {
  specforge_emulator::sync_warp(mask, file, line);
}

/// The least that is promised: the calling lane. Code that takes more for granted is wrong on a card too.
inline unsigned __activemask() { return 1u << specforge_emulator::lane_number(); }

inline void __syncthreads(SPECFORGE_SITE) { specforge_emulator::block_barrier(specforge_emulator::op_barrier, 0, file, line); }
inline int __syncthreads_or(int predicate, SPECFORGE_SITE) {
  return specforge_emulator::reducing_barrier(specforge_emulator::op_barrier_or, unsigned(predicate), file, line);
}
inline int __syncthreads_and(int predicate, SPECFORGE_SITE) {
  return specforge_emulator::reducing_barrier(specforge_emulator::op_barrier_and, unsigned(predicate), file, line);
}
inline int __syncthreads_count(int predicate, SPECFORGE_SITE) {
  return specforge_emulator::reducing_barrier(specforge_emulator::op_barrier_count, unsigned(predicate), file, line);
}

#endif
