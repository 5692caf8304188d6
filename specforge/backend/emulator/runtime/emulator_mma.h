// The collectives of mma.cuh: a lane deposits where its fragments are, and the last to arrive computes for all 32.
#ifndef SPECFORGE_EMULATOR_MMA_H
#define SPECFORGE_EMULATOR_MMA_H

#include "emulator_matrix.h"
#include "emulator_warp.h"

namespace specforge_emulator {

template <typename T>
constexpr Operation multiplication();
template <>
constexpr Operation multiplication<__half>() {
  return op_multiply_half;
}
template <>
constexpr Operation multiplication<__nv_bfloat16>() {
  return op_multiply_bfloat16;
}

}  // namespace specforge_emulator

template <typename T>
inline void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], SPECFORGE_SITE) {
  using namespace specforge_emulator;
  const Fragments own{d, a, b};
  exchange(multiplication<T>(), everyone, to_bits(&own), 0, sizeof own, file, line);
}

inline unsigned transpose_8x8(unsigned pair, SPECFORGE_SITE) {
  using namespace specforge_emulator;
  return unsigned(exchange(op_transpose, everyone, pair, 0, sizeof pair, file, line));
}

#endif
