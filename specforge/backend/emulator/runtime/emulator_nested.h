// A grid that runs inside another: what a dependent grid waits for. The waiting grid's whole state is set aside, the other runs
// to its end on the waiting thread's stack, and everything is put back. A sanitized library does not need this: its launches
// run in order and a thread that has not waited has not seen the one before.
#ifndef SPECFORGE_EMULATOR_NESTED_H
#define SPECFORGE_EMULATOR_NESTED_H

#include <stdlib.h>
#include <string.h>

#include "emulator_launch.h"

namespace specforge_emulator {

void wait_for_grids() {
  order_launches();
  Launch& launch = *machine.launch;
  Launch* const before = launch.before;
  if (before == nullptr || before->started) return;
  yield();  // the block's other threads do what they do before they wait
  if (before->started) return;
  unsigned char* const shared = machine.static_shared;
  const size_t shared_bytes = machine.static_shared_bytes;
  Thread* const self = running;
  const uint3 index = block_index;
  const dim3 extents[2] = {block_extent, grid_extent};
  unsigned char* const dynamic = dynamic_shared;
  const unsigned result = barrier_result;
  auto* const aside = static_cast<unsigned char*>(malloc(sizeof machine + shared_bytes));  // too much for a thread's stack
  if (aside == nullptr) abort();
  memcpy(aside, &machine, sizeof machine);
  memcpy(aside + sizeof machine, shared, shared_bytes);
  memset(static_cast<void*>(&machine), 0, sizeof machine);
  pthread_mutex_unlock(&busy);
  const int fault = launch.run_before(before, launch.arguments_before);
  pthread_mutex_lock(&busy);
  for (Thread& thread : machine.threads) discard_copies(thread);
  machine.stacks.release();
  memcpy(static_cast<void*>(&machine), aside, sizeof machine);
  memcpy(shared, aside + sizeof machine, shared_bytes);
  free(aside);
  running = self;
  block_index = index;
  block_extent = extents[0], grid_extent = extents[1];
  dynamic_shared = dynamic;
  barrier_result = result;
  if (fault == fault_none) return;
  memcpy(launch.message, before->message, sizeof launch.message);
  memcpy(launch.fault_block, before->fault_block, sizeof launch.fault_block);
  memcpy(launch.fault_thread, before->fault_thread, sizeof launch.fault_thread);
  launch.fault_depth = before->fault_depth + 1;
  leave(fault);
}

}  // namespace specforge_emulator

#endif
