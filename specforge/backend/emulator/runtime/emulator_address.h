// Local arrays, in libraries built to find what runs over their ends. The compiler's AddressSanitizer instrumentation lays
// room around each local variable whose address is taken, marks it in a map of one byte for eight, and asks before each
// access. Nothing but fibres' stacks is in that map; what it is for all other memory, emulator_callbacks.h knows better.
#ifndef SPECFORGE_EMULATOR_ADDRESS_H
#define SPECFORGE_EMULATOR_ADDRESS_H

#include "emulator_report.h"

namespace specforge_emulator {

constexpr uintptr_t left_of_frame = 0xf1, frame_mark = 0x41b58ab3;

/// The local variable of a frame nearest to an address, as the frame itself describes it: "2 32 16 3 own:4 64 4 1 k:5".
static void add_local(uintptr_t address) {
  uintptr_t at = address & ~uintptr_t(7);
  const auto lowest = reinterpret_cast<uintptr_t>(running->stack) - stack_bytes;
  while (at > lowest && *stack_map(at) != left_of_frame) at -= 8;
  while (at > lowest && *stack_map(at - 8) == left_of_frame) at -= 8;
  const auto* frame = reinterpret_cast<const uintptr_t*>(at);
  if (at <= lowest || frame[0] != frame_mark) {
    words.add("a local variable");
    return;
  }
  auto* text = reinterpret_cast<char*>(frame[1]);
  long best = -1, best_size = 0, best_start = 0;
  int best_length = 0;
  const char* best_name = "";
  for (long count = strtol(text, &text, 10); count > 0; --count) {
    const long start = strtol(text, &text, 10), size = strtol(text, &text, 10), length = strtol(text, &text, 10);
    const char* name = text + 1;
    text += 1 + length;
    const long offset = long(address - at), away = offset < start ? start - offset : offset - (start + size) < 0 ? 0 : offset - (start + size);
    if (best >= 0 && away >= best) continue;
    const void* colon = memchr(name, ':', size_t(length));
    best = away, best_size = size, best_start = start, best_name = name;
    best_length = colon ? int(static_cast<const char*>(colon) - name) : int(length);
  }
  words.bytes(uint64_t(best)).add(long(address - at) < best_start ? " before the start of" : " past the end of");
  words.add(" local `%.*s` (", best_length, best_name).bytes(uint64_t(best_size)).add(")");
}

[[noreturn]] [[gnu::cold, gnu::noinline]] static void raise_local(uintptr_t address, size_t bytes, bool wrote, uintptr_t place) {
  begin_report(place);
  words.add(wrote ? "writes " : "reads ").bytes(bytes).add(", ");
  add_local(address);
  raise(fault_bounds, "%s %s", words.text, first_place);
}

/// An access on the running thread's own stack.
static inline void check_local(uintptr_t address, size_t bytes, bool wrote, uintptr_t place) {
  for (uintptr_t at = address; at < address + bytes; at = (at | 7) + 1) {
    const auto open = (signed char)*stack_map(at);  // 0: all eight bytes may be touched; 1 to 7: the first ones; else none
    const uintptr_t last = address + bytes - 1 < (at | 7) ? address + bytes - 1 : (at | 7);
    if (__builtin_expect(open != 0 && (signed char)(last & 7) >= open, 0)) raise_local(open > 0 && at < (last & ~uintptr_t(7)) + open ? (last & ~uintptr_t(7)) + open : at, bytes, wrote, place);
  }
}

}  // namespace specforge_emulator

#endif
