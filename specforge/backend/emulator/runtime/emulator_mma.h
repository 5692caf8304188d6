// The collectives of mma.cuh and ldmatrix.cuh: a lane deposits where its fragments are, the last to arrive computes for all 32.
#ifndef SPECFORGE_EMULATOR_MMA_H
#define SPECFORGE_EMULATOR_MMA_H

#include "emulator_matrix.h"
#include "emulator_warp.h"

namespace specforge_emulator {

template <typename A, typename B = A>
constexpr Operation multiplication();
template <>
constexpr Operation multiplication<__half>() {
  return op_multiply_half;
}
template <>
constexpr Operation multiplication<__nv_bfloat16>() {
  return op_multiply_bfloat16;
}
template <>
constexpr Operation multiplication<signed char>() {
  return op_multiply_s8s8;
}
template <>
constexpr Operation multiplication<signed char, unsigned char>() {
  return op_multiply_s8u8;
}
template <>
constexpr Operation multiplication<unsigned char, signed char>() {
  return op_multiply_u8s8;
}
template <>
constexpr Operation multiplication<unsigned char>() {
  return op_multiply_u8u8;
}

/// In a sanitized kernel fragments are passed by value: those whose address is taken would be watched like memory.
template <typename T>
inline void multiply_fragments(Operation operation, T (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const char* file, int line) {
#if SPECFORGE_OUTSIDE_BODIES
  const FragmentsOf<T> own{d, a, b};
  exchange(operation, everyone, to_bits(&own), 0, sizeof own, file, line);
#else
  FragmentValues<T> values = {{d[0], d[1], d[2], d[3]}};
  values = multiply_values(operation, values, make_uint4(a[0], a[1], a[2], a[3]), make_uint2(b[0], b[1]), file, line);
  for (int i = 0; i < 4; ++i) d[i] = values.d[i];
#endif
}

#pragma GCC visibility push(hidden)

/// Whether the address may be a row of ldmatrix; a fault where it may not.
void check_row(const void* row, const char* file, int line);

#pragma GCC visibility pop

}  // namespace specforge_emulator

template <typename T>
inline void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], SPECFORGE_SITE) {
  using namespace specforge_emulator;
  multiply_fragments(multiplication<T>(), d, a, b, file, line);
}

template <typename A, typename B>
inline void mma_m16n8k32(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], SPECFORGE_SITE) {
  using namespace specforge_emulator;
  multiply_fragments(multiplication<A, B>(), d, a, b, file, line);
}

inline unsigned transpose_8x8(unsigned pair, SPECFORGE_SITE) {
  using namespace specforge_emulator;
  return unsigned(exchange(op_transpose, everyone, pair, 0, sizeof pair, file, line));
}

template <bool transposed = false, unsigned count>
inline void ldmatrix(unsigned (&words)[count], const void* row, SPECFORGE_SITE) {
  using namespace specforge_emulator;
  static_assert(count == 1 || count == 2 || count == 4, "one matrix, two or four");
  MatrixRow own = {};
  if (lane_number() < 8 * count) {
    check_row(row, file, line);
    const uint4 loaded = *static_cast<const uint4*>(row);
    own.loaded[0] = loaded.x, own.loaded[1] = loaded.y, own.loaded[2] = loaded.z, own.loaded[3] = loaded.w;
  }
  exchange(transposed ? op_ldmatrix_transposed : op_ldmatrix, everyone, to_bits(&own), 0, 16 * count, file, line);
  for (unsigned m = 0; m < count; ++m) words[m] = own.words[m];
}

#endif
