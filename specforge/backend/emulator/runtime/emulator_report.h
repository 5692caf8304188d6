// The sanitizer's findings in words. Each ends the launch.
#ifndef SPECFORGE_EMULATOR_REPORT_H
#define SPECFORGE_EMULATOR_REPORT_H

#include "emulator_launch.h"

namespace specforge_emulator {

constexpr const char* first_place = "\001";
constexpr const char* second_place = "\002";
constexpr const char* variable_name = "\003";

/// A text on the heap's side of nothing: reports are made one at a time, on a fibre's small stack.
struct Words {
  char text[1024];
  size_t used;

  template <typename... Values>
  Words& add(const char* format, Values... values) {
    if (used < sizeof text) used += size_t(snprintf(text + used, sizeof text - used, format, values...));
    return *this;
  }
  /// 1,234 bytes
  Words& bytes(uint64_t count) {
    char digits[32];
    const int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    for (int i = 0; i < length; ++i) add(i && (length - i) % 3 == 0 ? ",%c" : "%c", digits[i]);
    return add(count == 1 ? " byte" : " bytes");
  }
};
static Words words;

static void begin_report(uintptr_t place, uintptr_t other = 0) {
  words.used = 0;
  words.text[0] = 0;
  machine.launch->places[0] = uint32_t(place - regions.image);
  machine.launch->places[1] = uint32_t(other);
}

static void name_variable(uint64_t offset) { machine.launch->variable = offset; }

/// "element 3 of `out`", "byte 12 of dynamic shared memory", or what stands for the variable.
static void add_where(const Region& region, uintptr_t address) {
  const size_t at = address - region.data;
  switch (region.kind) {
    case region_tensor: words.add("element %zu of `%s`", region.element ? at / region.element : at, region.name); return;
    case region_dynamic_shared: words.add("byte %zu of dynamic shared memory", at); return;
    case region_static_shared: words.add("byte %zu of shared `%s` (", at, region.name ? region.name : "memory").bytes(region.bytes).add(")"); return;
    default: name_variable(address - regions.image);
  }
  words.add("%s", variable_name);
}

static void add_name(const Region& region) {
  static const char* const names[] = {"", "the block's static shared memory", "dynamic shared memory", "the kernel's variables", "the kernel's constants"};
  if (region.name) words.add(region.kind == region_tensor ? "`%s`" : "shared `%s`", region.name);
  else words.add("%s", names[region.kind]);
}

[[noreturn]] [[gnu::cold, gnu::noinline]] static void raise_bounds(Region* region, uintptr_t address, size_t bytes, bool wrote, uintptr_t place) {
  begin_report(place);
  words.add(wrote ? "writes " : "reads ").bytes(bytes);
  size_t distance;
  if (address < 4096) {
    words.add(" at address %zu, a null pointer", size_t(address));
  } else if (region == nullptr) {
    words.add(" in no buffer");
    region = nearest_region(address, &distance);
  }
  if (region != nullptr) {
    words.add(", ");
    if (address >= region->data + region->bytes) {
      words.bytes(address - region->data - region->bytes).add(" past the end of ");
    } else if (address >= region->data) {
      words.bytes(address + bytes - region->data - region->bytes).add(" of them past the end of ");
    } else {
      words.bytes(region->data - address).add(" before the start of ");
    }
    add_name(*region);
    words.add(" (").bytes(region->bytes);
    if (region->kind == region_tensor && region->element) {
      const auto offset = (long long)(address - region->data), element = (long long)region->element;
      words.add(", as element %lld of %lld", (offset - (offset < 0 ? element - 1 : 0)) / element, (long long)region->bytes / element);
    }
    words.add(")");
  }
  raise(fault_bounds, "%s %s", words.text, first_place);
}

[[noreturn]] [[gnu::cold, gnu::noinline]] static void raise_read_only(const Region& region, uintptr_t address, size_t bytes, uintptr_t place) {
  begin_report(place);
  words.add("writes ").bytes(bytes).add(" at ");
  add_where(region, address);
  words.add(region.kind == region_tensor ? ", an input" : ", a constant");
  raise(fault_read_only, "%s %s", words.text, first_place);
}

/// A read of what nothing wrote. If another thread is about to write it, without any order, that race is the fault: the launch
/// goes on to the end of the phase, or of the launch for what other blocks may write.
[[gnu::cold, gnu::noinline]] static void suspect_uninitialised(const Region& region, uintptr_t address, size_t bytes, uintptr_t place) {
#ifdef SPECFORGE_ADDRESS
  return;  // not every write is seen
#endif
  if (machine.suspected) return;
  begin_report(place);
  words.add("reads ").bytes(bytes).add(" at ");
  add_where(region, address);
  words.add(region.kind == region_tensor ? ", which nothing has written" : ", which nothing in the block has written");
  describe(*machine.launch, "%s %s", words.text, first_place);
  machine.suspected = true;
  machine.suspected_shared = region.kind != region_tensor;
  machine.suspicion = *machine.launch;
}

[[noreturn]] [[gnu::cold, gnu::noinline]] static void raise_misaligned(uintptr_t address, size_t bytes, uintptr_t place) {
  begin_report(place);
  words.add("an atomic of ").bytes(bytes).add(" at an address that is %zu beyond a multiple of %zu", size_t(address & (bytes - 1)), bytes);
  raise(fault_alignment, "%s %s", words.text, first_place);
}

[[noreturn]] [[gnu::cold, gnu::noinline]] static void raise_stuck(uintptr_t address, uintptr_t place) {
  begin_report(place);
  words.add("waits for memory to change");
  if (const Region* region = find_region(address)) {
    words.add(", at ");
    add_where(*region, address);
  }
  words.add(", and no thread of its block will change it; a later block may never run beside it");
  raise(fault_deadlock, "%s %s", words.text, first_place);
}

[[noreturn]] [[gnu::cold, gnu::noinline]] static void raise_race(
    const Access& before, bool wrote, const Region& region, bool writes, bool is_atomic, uintptr_t address, size_t bytes, uintptr_t place) {
  begin_report(place, before.place);
  words.add(is_atomic ? "atomically " : "").add(writes ? "writes " : "reads ").bytes(bytes).add(" at ");
  add_where(region, address);
  const dim3 extent = block_extent;
  const unsigned t = before.thread();
  words.add(" %s, which thread (%u, %u, %u)", first_place, t % extent.x, t / extent.x % extent.y, t / extent.x / extent.y);
  if (before.phase >= order_of.block_first) {
    words.add(" of the same block");
  } else if (before.phase >= order_of.launch_first) {
    List<BlockStart>& blocks = releases.blocks;
    const uint3 index = blocks[blocks.from(before.phase + 1) - 1].index;
    words.add(" of block (%u, %u, %u)", index.x, index.y, index.z);
  } else {
    words.add(" of the launch before, which this one does not wait for,");
  }
  words.add(" %s%s %s; nothing orders the two", before.atomic() ? "atomically " : "", wrote ? "wrote" : "read", second_place);
  raise(fault_race, "%s", words.text);
}

}  // namespace specforge_emulator

#endif
