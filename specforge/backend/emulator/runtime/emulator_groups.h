// Warp operations: a lane deposits its value and waits until every lane of its mask has arrived at the same operation.
// The last to arrive works out every lane's result at once, so a later exchange cannot overtake an earlier one.
#ifndef SPECFORGE_EMULATOR_GROUPS_H
#define SPECFORGE_EMULATOR_GROUPS_H

#include "emulator_matrix.h"
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
      else if (group.operation == op_multiply_half) multiply<widen_half>(value);
      else multiply<widen_bfloat16>(value);
      return;
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

void raise_bad_width(Operation operation, int width, const char* file, int line) {
  raise(fault_shuffle, "%s: width %d is not a power of two of at most 32 (%s:%d)", operation_name(operation), width, file, line);
}

}  // namespace specforge_emulator

#endif
