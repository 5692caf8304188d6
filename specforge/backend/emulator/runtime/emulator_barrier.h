// The barriers of barrier.cuh.
#ifndef SPECFORGE_EMULATOR_BARRIER_H
#define SPECFORGE_EMULATOR_BARRIER_H

#include "emulator_warp.h"

namespace specforge_emulator {

#pragma GCC visibility push(hidden)

/// `operation`: op_named_sync, or op_named_arrive, which does not wait.
void named_barrier(Operation operation, unsigned id, unsigned threads, const char* file, int line);

#pragma GCC visibility pop

}  // namespace specforge_emulator

inline void barrier_sync(unsigned id, unsigned threads, SPECFORGE_SITE) {
  specforge_emulator::named_barrier(specforge_emulator::op_named_sync, id, threads, file, line);
}
inline void barrier_arrive(unsigned id, unsigned threads, SPECFORGE_SITE) {
  specforge_emulator::named_barrier(specforge_emulator::op_named_arrive, id, threads, file, line);
}

#endif
