// Dependent grids (dependent.cuh).
#ifndef SPECFORGE_EMULATOR_DEPENDENT_H
#define SPECFORGE_EMULATOR_DEPENDENT_H

namespace specforge_emulator {

#pragma GCC visibility push(hidden)

/// The grids that the running one depends on have ended when it returns.
void wait_for_grids();

#pragma GCC visibility pop

}  // namespace specforge_emulator

inline void grid_wait() { specforge_emulator::wait_for_grids(); }
inline void grid_let_next() {}

#endif
