// Threads, warps and one block at a time, run cooperatively: a thread runs until it must wait, then jumps straight to the
// next thread that can run. A thread that never waits needs no switch at all: the stack that ran it runs the next one.
#ifndef SPECFORGE_EMULATOR_SCHEDULER_H
#define SPECFORGE_EMULATOR_SCHEDULER_H

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include <string.h>

#include "emulator_fibre.h"

namespace specforge_emulator {

inline const char* operation_name(unsigned operation) {
  static const char* const names[] = {
      "nothing", "__syncthreads", "__syncthreads_or", "__syncthreads_and", "__syncthreads_count",
      "__syncwarp", "__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync", "__ballot_sync", "__any_sync",
      "__all_sync", "__match_any_sync", "__match_all_sync",
      "__reduce_add_sync", "__reduce_min_sync", "__reduce_min_sync", "__reduce_max_sync", "__reduce_max_sync",
      "__reduce_and_sync", "__reduce_or_sync", "__reduce_xor_sync",
      "mma_m16n8k16<half>", "mma_m16n8k16<bfloat16>", "transpose_8x8",
      "mma_m16n8k32<s8, s8>", "mma_m16n8k32<s8, u8>", "mma_m16n8k32<u8, s8>", "mma_m16n8k32<u8, u8>", "ldmatrix", "ldmatrix<transposed>",
      "barrier_sync", "barrier_arrive", "named barrier"};
  return names[operation];
}

struct Block {
  unsigned live, waiting, accumulated;
  Operation barrier;
  unsigned warps_ready;  // by place; a set bit may be stale
};

/// Of barrier.cuh. By place of a warp: lanes that will have seen what others did, slots that sleep, and the generation that the
/// warp came to last, plus 1.
struct NamedBarrier {
  unsigned threads, arrived, generation;
  unsigned synced[lanes], waiting[lanes], came[lanes];
};

struct Machine {
  Thread threads[maximum_threads];
  Warp warps[lanes];
  Block block;
  NamedBarrier named[16];
  bool uses_named, uses_copies;  // by the last block: to be cleared before the next
  Stacks stacks;
  unsigned char* static_shared;
  size_t static_shared_bytes;
  Launch* launch;
  void (*call)(void**);
  void** arguments;
  void* launcher;  // the context of the launching thread
  unsigned warp_count;
  int fault;
  bool suspected, suspected_shared;  // a fault that another may explain, and whether that has to come in this phase
  Launch suspicion;
  uint64_t packed_block, packed_block_extent, packed_grid_extent;
};

static Machine machine;
static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;  // one launch of a library at a time
Thread* running;
uint3 block_index;
dim3 block_extent, grid_extent;
unsigned char* dynamic_shared;
unsigned barrier_result;

[[noreturn]] __attribute__((cold, noinline)) static void leave(int fault) {
  machine.fault = fault;
  void* abandoned;
  specforge_emulator_switch(&abandoned, machine.launcher);
  __builtin_unreachable();
}

static void describe(Launch& launch, const char* format, va_list values) {
  vsnprintf(launch.message, sizeof launch.message, format, values);
  launch.fault_block[0] = block_index.x, launch.fault_block[1] = block_index.y, launch.fault_block[2] = block_index.z;
  launch.fault_thread[0] = running->index.x, launch.fault_thread[1] = running->index.y, launch.fault_thread[2] = running->index.z;
}

__attribute__((format(printf, 2, 3))) static void describe(Launch& launch, const char* format, ...) {
  va_list values;
  va_start(values, format);
  describe(launch, format, values);
  va_end(values);
}

/// What was suspected is the fault.
static int confirm_suspicion() {
  *machine.launch = machine.suspicion;
  machine.suspected = false;
  return fault_uninitialised;
}

void raise(Fault fault, const char* format, ...) {
  if (machine.suspected && fault != fault_race) leave(confirm_suspicion());
  va_list values;
  va_start(values, format);
  describe(*machine.launch, format, values);
  va_end(values);
  leave(fault);
}

/// "threads 0-31, 40: wait at __syncthreads (kernel.cu.j2:41)", a line for each thing that is waited for.
[[noreturn]] __attribute__((cold, noinline)) static void raise_deadlock() {
  static char text[sizeof(Launch::message)];
  static bool listed[maximum_threads];
  static const Thread* by_flat[maximum_threads];
  const unsigned total = block_extent.x * block_extent.y * block_extent.z;
  for (unsigned w = 0; w < machine.warp_count; ++w)
    for (unsigned s = 0; s < lanes; ++s)
      if (const Thread& t = machine.warps[w].threads[s]; machine.warps[w].exists >> t.lane & 1) by_flat[t.flat] = &t;
  memset(listed, 0, sizeof listed);
  size_t used = 0;
  const auto append = [&used](const char* format, auto... values) {
    if (used < sizeof text) used += size_t(snprintf(text + used, sizeof text - used, format, values...));
  };
  const auto has_exited = [](const Thread& t) { return (t.warp->exited >> t.lane & 1) != 0; };
  for (unsigned i = 0; i < total; ++i) {
    if (listed[i]) continue;
    const Thread& first = *by_flat[i];
    append(used ? "; threads " : "threads ");
    const auto same = [&](const Thread& t) {
      if (has_exited(first) || has_exited(t)) return has_exited(first) && has_exited(t);
      return t.waits == first.waits && t.mask == first.mask && t.site.line == first.site.line;
    };
    for (unsigned j = i, ranges = 0; j < total; ++j) {
      if (!same(*by_flat[j])) continue;
      unsigned last = j;
      listed[j] = true;
      while (last + 1 < total && same(*by_flat[last + 1])) listed[++last] = true;
      append(ranges++ ? ", %u" : "%u", j);
      if (last > j) append("-%u", last);
      j = last;
    }
    if (has_exited(first)) {
      append(" have exited");
      continue;
    }
    append(" wait at %s", operation_name(first.waits));
    if (first.waits == op_named_barrier) {
      const NamedBarrier& barrier = machine.named[first.mask];
      append(" %u, where %u of %u threads have come", first.mask, barrier.arrived, barrier.threads);
    } else if (first.waits > op_barrier_count) {
      append(" with mask 0x%08x", first.mask);
      for (unsigned g = 0; g < first.warp->group_count; ++g) {
        const Group& group = first.warp->groups[g];
        if (group.mask == first.mask) append(" for lanes 0x%08x of warp %u", group.expected & ~group.arrived, first.warp->number);
      }
    }
    append(" (%s:%d)", first.site.file, first.site.line);
  }
  raise(fault_deadlock, "no thread of the block can go on: %s", text);
}

uint64_t packed_thread() { return running->packed; }
uint64_t packed_block() { return machine.packed_block; }
uint64_t packed_block_extent() { return machine.packed_block_extent; }
uint64_t packed_grid_extent() { return machine.packed_grid_extent; }
unsigned lane_number() { return running->lane; }
unsigned char* dynamic_shared_memory() { return dynamic_shared; }

long long tick() {
  static long long count;
  yield();
  return count += 1000;
}

/// The lowest set bit at or above `from`, going round.
static inline unsigned next_bit(unsigned bits, unsigned from) {
  const unsigned above = bits & (everyone << from);
  return unsigned(__builtin_ctz(above ? above : bits));
}

/// The next thread that can run, its own warp first; null when there is none. Takes it out of the ready set.
static inline Thread* pick(Warp* warp) {
  if (__builtin_expect(warp->ready == 0, 0)) {
    Block& block = machine.block;
    block.warps_ready &= ~(1u << warp->place);
    do {
      if (block.warps_ready == 0) return nullptr;
      const unsigned place = next_bit(block.warps_ready, warp->place);
      warp = &machine.warps[place];
      if (warp->ready == 0) block.warps_ready &= ~(1u << place);
    } while (warp->ready == 0);
  }
  // Always the first: not to depend on the thread that leaves keeps the chain of loads from switch to switch short.
  const unsigned slot = unsigned(__builtin_ctz(warp->ready));
  warp->ready &= warp->ready - 1;
  return &warp->threads[slot];
}

static void run_threads();

[[gnu::cold, gnu::noinline]] static void start_on_new_stack(Thread* thread) {
  unsigned char* stack = machine.stacks.take();
  if (stack == nullptr) raise(fault_launch, "no memory for the stacks of the block's threads");
  thread->stack = stack;
  thread->warp->started |= 1u << thread->slot;
  thread->context = prepare(stack, run_threads);
}

/// Leaves the running thread, which is not ready, for the next one that is.
__attribute__((noinline)) static void suspend(Thread* self) {
  Thread* next = pick(self->warp);
  if (__builtin_expect(next == nullptr, 0)) raise_deadlock();
  if (__builtin_expect(!(next->warp->started >> next->slot & 1), 0)) start_on_new_stack(next);
  running = next;
  specforge_emulator_switch(&self->context, next->context);
}

void yield() {
  order_settle();
  Thread* self = running;
  Warp* warp = self->warp;
  const unsigned higher = self->slot == lanes - 1 ? 0 : warp->ready & (everyone << (self->slot + 1));
  warp->ready |= 1u << self->slot;
  machine.block.warps_ready |= 1u << warp->place;
  Thread* next;
  if (higher) {
    const unsigned slot = unsigned(__builtin_ctz(higher));
    warp->ready &= ~(1u << slot);
    next = &warp->threads[slot];
  } else {  // the warp has had its turn: the next one that can run, or this one again from its first lane
    const unsigned place = next_bit(machine.block.warps_ready, (warp->place + 1) % lanes);
    next = pick(&machine.warps[place]);
  }
  if (next == self) return;
  if (!(next->warp->started >> next->slot & 1)) start_on_new_stack(next);
  running = next;
  specforge_emulator_switch(&self->context, next->context);
}

/// Wakes everybody at the block's barrier.
static inline void release_barrier() {
  Block& block = machine.block;
  barrier_result = block.accumulated;
  block.waiting = 0;
  if (__builtin_expect(machine.suspected && machine.suspected_shared, 0)) leave(confirm_suspicion());
  order_phase();
  for (unsigned w = 0; w < machine.warp_count; ++w) {
    Warp& warp = machine.warps[w];
    if (warp.barrier == 0) continue;
    warp.ready |= warp.barrier;
    warp.barrier = 0;
    block.warps_ready |= 1u << w;
  }
}

void block_barrier(Operation operation, unsigned predicate, const char* file, int line) {
  order_settle();
  Thread* self = running;
  Warp* warp = self->warp;
  Block& block = machine.block;
  if (block.waiting == 0) {
    block.barrier = operation;
    block.accumulated = operation == op_barrier_and;
  } else if (block.barrier != operation) {
    raise(fault_barrier, "%s (%s:%d) meets %s of other threads at one barrier", operation_name(operation), file, line,
          operation_name(block.barrier));
  }
  if (warp->barrier == 0) {
    warp->barrier_line = line;
  } else if (warp->barrier_line != line) {
    raise(fault_barrier, "threads of warp %u are at different barriers: lines %d and %d (%s)", warp->number, warp->barrier_line,
          line, file);
  }
  if (operation == op_barrier_or) block.accumulated |= predicate != 0;
  if (operation == op_barrier_and) block.accumulated &= predicate != 0;
  if (operation == op_barrier_count) block.accumulated += predicate != 0;
  if (++block.waiting == block.live) {
    return release_barrier();
  }
  warp->barrier |= 1u << self->slot;
  self->waits = operation;
  self->mask = everyone;
  self->site = {file, line};
  suspend(self);  // a tail call: a return after a switch is mispredicted
}

/// A thread has returned from the kernel.
static inline void retire(Thread* self) {
  order_settle();
  Warp* warp = self->warp;
  Block& block = machine.block;
  warp->exited |= 1u << self->lane;
  for (unsigned g = 0; g < warp->group_count; ++g) {
    const Group& group = warp->groups[g];
    if (group.mask >> self->lane & 1) {
      const Thread& other = warp->threads[warp->slot_of[__builtin_ctz(group.arrived)]];
      raise(fault_shuffle, "lane %u of warp %u exits while lane %u waits for it at %s with mask 0x%08x (%s:%d)", self->lane,
            warp->number, other.lane, operation_name(group.operation), group.mask, other.site.file, other.site.line);
    }
  }
  if (--block.live == block.waiting && block.waiting) release_barrier();
}

/// What every stack does: run a thread to its end, then the next that has not begun, or jump to one that has.
static void run_threads() {
  for (Thread* self = running;;) {
    machine.call(machine.arguments);
    retire(self);
    Thread* next = pick(self->warp);
    if (__builtin_expect(next == nullptr, 0)) {
      if (machine.block.live) raise_deadlock();
      machine.stacks.give(self->stack);
      leave(fault_none);
    }
    running = next;
    if (next->warp->started >> next->slot & 1) {
      machine.stacks.give(self->stack);
      specforge_emulator_switch(&self->context, next->context);
      __builtin_unreachable();
    }
    next->warp->started |= 1u << next->slot;
    next->stack = self->stack;
    self = next;
  }
}

}  // namespace specforge_emulator

#endif
