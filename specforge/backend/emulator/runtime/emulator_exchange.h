// The parts of warp operations and barriers that touch the runtime's own state.
#ifndef SPECFORGE_EMULATOR_EXCHANGE_H
#define SPECFORGE_EMULATOR_EXCHANGE_H

#include "emulator_machine.h"
#include "emulator_matrix.h"

namespace specforge_emulator {

/// A lane's part of a product.
template <typename T>
struct FragmentValues {
  T d[4];
};

#if SPECFORGE_OUTSIDE_BODIES
SPECFORGE_OUTSIDE uint64_t exchange(Operation operation, unsigned mask, uint64_t value, unsigned source, unsigned size, const char* file, int line) {
  Thread* self = running;
  Warp* warp = self->warp;
  const unsigned lane = self->lane;
  warp->value[lane] = value;
  warp->source[lane] = (unsigned char)source;
  arrive(self, operation, mask, size, file, line);
  return warp->result[lane];
}

SPECFORGE_OUTSIDE void sync_warp(unsigned mask, const char* file, int line) {
  arrive(running, op_syncwarp, mask, 0, file, line);
}

/// __syncthreads_or and its kind.
SPECFORGE_OUTSIDE int reducing_barrier(Operation operation, unsigned predicate, const char* file, int line) {
  block_barrier(operation, predicate, file, line);
  return int(barrier_result);
}

#ifdef SPECFORGE_SHADOW
template <typename T>
static FragmentValues<T> multiply_copies(Operation operation, FragmentValues<T> values, uint4 a, uint2 b, const char* file, int line) {
  const unsigned a_words[4] = {a.x, a.y, a.z, a.w}, b_words[2] = {b.x, b.y};
  const FragmentsOf<T> own{values.d, a_words, b_words};
  exchange(operation, everyone, reinterpret_cast<uintptr_t>(&own), 0, sizeof own, file, line);
  return values;
}
FragmentValues<float> multiply_values(Operation operation, FragmentValues<float> values, uint4 a, uint2 b, const char* file, int line) {
  return multiply_copies(operation, values, a, b, file, line);
}
FragmentValues<int> multiply_values(Operation operation, FragmentValues<int> values, uint4 a, uint2 b, const char* file, int line) {
  return multiply_copies(operation, values, a, b, file, line);
}
#endif
#else
#pragma GCC visibility push(hidden)
FragmentValues<float> multiply_values(Operation operation, FragmentValues<float> values, uint4 a, uint2 b, const char* file, int line);
FragmentValues<int> multiply_values(Operation operation, FragmentValues<int> values, uint4 a, uint2 b, const char* file, int line);
uint64_t exchange(Operation operation, unsigned mask, uint64_t value, unsigned source, unsigned size, const char* file, int line);
void sync_warp(unsigned mask, const char* file, int line);
int reducing_barrier(Operation operation, unsigned predicate, const char* file, int line);
#pragma GCC visibility pop
#endif

}  // namespace specforge_emulator

#endif
