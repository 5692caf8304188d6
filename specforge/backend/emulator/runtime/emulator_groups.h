// Warp operations: a lane deposits its value and waits until every lane of its mask has arrived at the same operation.
// The last to arrive works out every lane's result at once, so a later exchange cannot overtake an earlier one.
#ifndef SPECFORGE_EMULATOR_GROUPS_H
#define SPECFORGE_EMULATOR_GROUPS_H

#include "emulator_parity.h"
#include "emulator_scheduler.h"

namespace specforge_emulator {

template <typename Visit>
inline void each_lane(unsigned mask, Visit visit) {
  for (; mask; mask &= mask - 1) visit(unsigned(__builtin_ctz(mask)));
}

[[noreturn]] __attribute__((cold, noinline)) static void raise_bad_source(const Warp& warp, const Group& group) {
  each_lane(group.expected, [&](unsigned lane) {
    const unsigned source = warp.source[lane];
    if (group.expected >> source & 1) return;
    const Site& site = warp.threads[warp.slot_of[lane]].site;
    const char* why = warp.exists >> source & 1 ? "not in its mask" : "not in the block";
    raise(fault_shuffle, "%s: lane %u of warp %u reads lane %u, which is %s 0x%08x (%s:%d)", operation_name(group.operation), lane,
          warp.number, source, why, group.mask, site.file, site.line);
  });
  __builtin_unreachable();
}

[[noreturn]] __attribute__((cold, noinline)) static void raise_partial_warp(const Warp& warp, const Group& group) {
  const Thread& first = warp.threads[warp.slot_of[__builtin_ctz(group.expected)]];
  raise(fault_shuffle, "%s: warp %u has only lanes 0x%08x, and all 32 must take part (%s:%d)", operation_name(group.operation),
        warp.number, group.expected, first.site.file, first.site.line);
}

/// A warp has come to a named barrier. Result for each lane: the barrier's generation, which it may have completed.
static inline void meet_at_named_barrier(Warp& warp, const Group& group) {
  Thread* const self = running;
  const uint64_t named = warp.value[__builtin_ctz(group.expected)];
  each_lane(group.expected, [&](unsigned lane) {
    if (warp.value[lane] == named) return;
    const Site& site = warp.threads[warp.slot_of[lane]].site;
    raise(fault_barrier, "%s: lanes of warp %u name different barriers or numbers of threads (%s:%d)", operation_name(group.operation),
          warp.number, site.file, site.line);
  });
  const unsigned id = unsigned(named & 15), threads = unsigned(named >> 4);
  NamedBarrier& barrier = machine.named[id];
  const unsigned slot = 2 * id + barrier.generation % 2;
  if (barrier.arrived == 0) {
    barrier.threads = threads;
    order_clear(slot);
  } else if (barrier.threads != threads) {
    const Site& site = self->site;
    raise(fault_barrier, "%s: warp %u takes barrier %u to be of %u threads, others took it to be of %u (%s:%d)",
          operation_name(group.operation), warp.number, id, threads, barrier.threads, site.file, site.line);
  }
  barrier.arrived += lanes;  // also of a warp with fewer, as on a card
  each_lane(group.expected, [&](unsigned lane) {
    warp.result[lane] = barrier.generation;
    running = &warp.threads[warp.slot_of[lane]];
    order_release(slot);
  });
  if (group.operation == op_named_sync) barrier.synced[warp.place] |= group.expected;
  if (barrier.arrived == threads) {
    for (unsigned place = 0; place < machine.warp_count; ++place) {
      Warp& other = machine.warps[place];
      each_lane(barrier.synced[place], [&](unsigned lane) {
        running = &other.threads[other.slot_of[lane]];
        order_acquire(slot);
      });
      if (barrier.waiting[place]) machine.block.warps_ready |= 1u << place;
      other.ready |= barrier.waiting[place];
      barrier.synced[place] = barrier.waiting[place] = 0;
    }
    barrier.arrived = 0;
    ++barrier.generation;
  }
  running = self;
}

/// Results of one operation for all its lanes.
static inline void complete(Warp& warp, const Group& group) {
  const unsigned mask = group.expected;
  uint64_t* const value = warp.value;
  uint64_t* const result = warp.result;
  uint64_t all = 0;
  const auto reduce = [&](auto step) {
    uint64_t total = value[__builtin_ctz(mask)];
    each_lane(mask & (mask - 1), [&](unsigned lane) { total = step(total, value[lane]); });
    return total;
  };
  switch (group.operation) {
    case op_shuffle: case op_shuffle_up: case op_shuffle_down: case op_shuffle_xor:
      if (mask == everyone) {
        for (unsigned lane = 0; lane < lanes; ++lane) result[lane] = value[warp.source[lane]];
        return;
      }
      each_lane(mask, [&](unsigned lane) {
        if (!(mask >> warp.source[lane] & 1)) raise_bad_source(warp, group);
        result[lane] = value[warp.source[lane]];
      });
      return;
    case op_match_any:
      each_lane(mask, [&](unsigned lane) {
        unsigned same = 0;
        each_lane(mask, [&](unsigned other) { same |= unsigned(value[other] == value[lane]) << other; });
        result[lane] = same;
      });
      return;
    case op_multiply_half: case op_multiply_bfloat16: case op_transpose:
      if (mask != everyone) raise_partial_warp(warp, group);
      if (group.operation == op_transpose) transpose(value, result);
      else if (group.operation == op_multiply_half) multiply_half(value);
      else multiply_bfloat16(value);
      return;
    case op_multiply_s8s8: case op_multiply_s8u8: case op_multiply_u8s8: case op_multiply_u8u8:
      if (mask != everyone) raise_partial_warp(warp, group);
      if (group.operation == op_multiply_s8s8) multiply_bytes<signed char, signed char>(value);
      else if (group.operation == op_multiply_s8u8) multiply_bytes<signed char, unsigned char>(value);
      else if (group.operation == op_multiply_u8s8) multiply_bytes<unsigned char, signed char>(value);
      else multiply_bytes<unsigned char, unsigned char>(value);
      return;
    case op_ldmatrix: case op_ldmatrix_transposed:
      if (mask != everyone) raise_partial_warp(warp, group);
      return distribute(value, group.size / 16, group.operation == op_ldmatrix_transposed);
    case op_named_sync: case op_named_arrive: return meet_at_named_barrier(warp, group);
    case op_syncwarp: return order_warp(mask, &warp);
    case op_ballot: each_lane(mask, [&](unsigned lane) { all |= uint64_t(value[lane] != 0) << lane; }); break;
    case op_any: all = reduce([](uint64_t a, uint64_t b) { return uint64_t((a | b) != 0); }) != 0; break;
    case op_all: all = reduce([](uint64_t a, uint64_t b) { return uint64_t(a != 0 && b != 0); }) != 0; break;
    case op_match_all:
      all = mask;
      each_lane(mask, [&](unsigned lane) { all = value[lane] == value[__builtin_ctz(mask)] ? all : 0; });
      break;
    case op_add: all = reduce([](uint64_t a, uint64_t b) { return a + b; }); break;
    case op_min_signed: all = reduce([](uint64_t a, uint64_t b) { return int(a) < int(b) ? a : b; }); break;
    case op_max_signed: all = reduce([](uint64_t a, uint64_t b) { return int(a) > int(b) ? a : b; }); break;
    case op_min_unsigned: all = reduce([](uint64_t a, uint64_t b) { return a < b ? a : b; }); break;
    case op_max_unsigned: all = reduce([](uint64_t a, uint64_t b) { return a > b ? a : b; }); break;
    case op_and: all = reduce([](uint64_t a, uint64_t b) { return a & b; }); break;
    case op_or: all = reduce([](uint64_t a, uint64_t b) { return a | b; }); break;
    case op_xor: all = reduce([](uint64_t a, uint64_t b) { return a ^ b; }); break;
    default: return;
  }
  each_lane(mask, [&](unsigned lane) { result[lane] = all; });
}

[[noreturn]] __attribute__((cold, noinline)) static void raise_bad_mask(Thread* self, Operation operation, unsigned mask) {
  const Warp& warp = *self->warp;
  const Site& site = self->site;
  if (!(mask >> self->lane & 1))
    raise(fault_shuffle, "%s: lane %u of warp %u calls it with mask 0x%08x, which does not name it (%s:%d)", operation_name(operation),
          self->lane, warp.number, mask, site.file, site.line);
  raise(fault_shuffle, "%s: lane %u of warp %u names lanes 0x%08x in mask 0x%08x, which have exited (%s:%d)",
        operation_name(operation), self->lane, warp.number, mask & warp.exited, mask, site.file, site.line);
}

[[noreturn]] __attribute__((cold, noinline)) static void raise_mixed(Thread* self, const Group& group, Operation operation, unsigned size) {
  const Thread& other = self->warp->threads[self->warp->slot_of[__builtin_ctz(group.arrived)]];
  raise(fault_shuffle, "%s of %u bytes by lane %u of warp %u (%s:%d) meets %s of %u bytes by lane %u (%s:%d) under one mask 0x%08x",
        operation_name(operation), size, self->lane, self->warp->number, self->site.file, self->site.line,
        operation_name(group.operation), unsigned(group.size), other.lane, other.site.file, other.site.line, group.mask);
}

void arrive(Thread* self, Operation operation, unsigned mask, unsigned size, const char* file, int line) {
  order_settle();
  Warp& warp = *self->warp;
  self->waits = operation;
  self->mask = mask;
  self->site = {file, line};
  unsigned g = 0;
  while (g < warp.group_count && warp.groups[g].mask != mask) ++g;
  Group& group = warp.groups[g];
  if (g == warp.group_count) {
    if (__builtin_expect(!(mask >> self->lane & 1) || (mask & warp.exited), 0)) raise_bad_mask(self, operation, mask);
    group = {mask, mask & warp.exists, 0, operation, (unsigned char)size};
    ++warp.group_count;
  } else if (__builtin_expect(!(mask >> self->lane & 1), 0)) {
    raise_bad_mask(self, operation, mask);
  } else if (__builtin_expect(group.operation != operation || group.size != size, 0)) {
    raise_mixed(self, group, operation, size);
  }
  group.arrived |= 1u << self->lane;
  if (group.arrived != group.expected) return suspend(self);
  complete(warp, group);
  const unsigned woken = group.expected & ~(1u << self->lane);
  if (woken == (everyone & ~(1u << self->lane))) {
    warp.ready |= everyone & ~(1u << self->slot);
  } else {
    each_lane(woken, [&](unsigned lane) { warp.ready |= 1u << warp.slot_of[lane]; });
  }
  machine.block.warps_ready |= 1u << warp.place;
  group = warp.groups[--warp.group_count];
}

void named_barrier(Operation operation, unsigned id, unsigned threads, const char* file, int line) {
  Thread* const self = running;
  const unsigned total = (block_extent.x * block_extent.y * block_extent.z + lanes - 1) / lanes * lanes;
  if (id == 0 || id > 15) raise(fault_barrier, "%s: barrier %u is not one of 1 to 15 (%s:%d)", operation_name(operation), id, file, line);
  if (threads == 0 || threads % lanes != 0 || threads > total)
    raise(fault_barrier, "%s: %u threads are not whole warps of the block, which has %u (%s:%d)", operation_name(operation), threads, total,
          file, line);
  if (self->warp->exited)
    raise(fault_barrier, "%s: lanes 0x%08x of warp %u have exited, and all must take part (%s:%d)", operation_name(operation),
          self->warp->exited, self->warp->number, file, line);
  machine.uses_named = true;
  NamedBarrier& barrier = machine.named[id];
  if (barrier.came[self->warp->place] == barrier.generation + 1)
    raise(fault_barrier, "%s: warp %u comes to barrier %u again before that has completed (%s:%d)", operation_name(operation),
          self->warp->number, id, file, line);
  const unsigned generation = unsigned(exchange(operation, everyone, id | uint64_t(threads) << 4, 0, 0, file, line));
  barrier.came[self->warp->place] = generation + 1;
  if (operation == op_named_arrive || barrier.generation != generation) return;
  barrier.waiting[self->warp->place] |= 1u << self->slot;
  self->waits = op_named_barrier;
  self->mask = id;
  self->site = {file, line};
  suspend(self);
}

void raise_bad_width(Operation operation, int width, const char* file, int line) {
  raise(fault_shuffle, "%s: width %d is not a power of two of at most 32 (%s:%d)", operation_name(operation), width, file, line);
}

}  // namespace specforge_emulator

#endif
