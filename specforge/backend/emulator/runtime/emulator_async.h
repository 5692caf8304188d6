// The copies of async.cuh. A thread's copies wait in a list until it waits for them, and are done then, not before: as late as
// a card may do them. From the copy on the destination holds poison and counts as not written.
#ifndef SPECFORGE_EMULATOR_ASYNC_H
#define SPECFORGE_EMULATOR_ASYNC_H

#include "emulator_warp.h"

namespace specforge_emulator {

#pragma GCC visibility push(hidden)

void copy_async(void* to, const void* from, unsigned bytes, unsigned filled, const char* file, int line);
void commit_copies();

/// Does the copies of all closed groups but the last `pending`; with `pending` below zero, every copy.
void wait_copies(int pending);

#pragma GCC visibility pop

}  // namespace specforge_emulator

template <unsigned bytes>
inline void cp_async(void* to, const void* from, unsigned filled = bytes, SPECFORGE_SITE) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "4, 8 or 16 bytes");
  specforge_emulator::copy_async(to, from, bytes, filled, file, line);
}
inline void cp_async_commit() { specforge_emulator::commit_copies(); }
template <unsigned pending>
inline void cp_async_wait() {
  specforge_emulator::wait_copies(int(pending));
}
inline void cp_async_wait_all() { specforge_emulator::wait_copies(-1); }

#endif
