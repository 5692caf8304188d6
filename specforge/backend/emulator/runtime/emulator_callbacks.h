// What the instrumentation of a sanitized kernel calls before each access.
#ifndef SPECFORGE_EMULATOR_CALLBACKS_H
#define SPECFORGE_EMULATOR_CALLBACKS_H

#include "emulator_launch.h"
#include "emulator_report.h"
#ifdef SPECFORGE_ADDRESS
#include "emulator_address.h"
#endif

namespace specforge_emulator {

constexpr unsigned poll_limit = 1u << 20;  // polls without any change, until a launch is given up
constexpr unsigned repeats_per_poll = 1u << 13, cost_of_repeats = 500;

enum How : unsigned { plain_read, plain_write, atomic_read, atomic_write, read_write };
constexpr bool reads(How how) { return how == plain_read || how == atomic_read || how == read_write; }
constexpr bool writes(How how) { return how == plain_write || how == atomic_write || how == read_write; }
constexpr bool is_atomic(How how) { return how >= atomic_read; }

[[gnu::noinline, gnu::cold]] static void settle_doubt() {
  doubt.some = false;
  if (memcmp(doubt.held, reinterpret_cast<const void*>(doubt.address), doubt.bytes) != 0)
    raise_race(doubt.before, true, *doubt.region, true, false, doubt.address, doubt.bytes, doubt.place);
}

void order_settle() {
  if (__builtin_expect(doubt.some, 0)) settle_doubt();
}

/// An access that is not plainly ordered after an earlier one. Ends the launch unless something else orders the two.
[[gnu::noinline, gnu::cold]] static void judge(const Access& before, bool wrote, const Region& region, How how, uintptr_t address, size_t bytes, uintptr_t place) {
#ifdef SPECFORGE_ADDRESS
  return;  // its instrumentation leaves out what is volatile and what is surely within bounds: no races in such a build
#endif
  const Order& order = order_of;
  if (is_atomic(how) && before.atomic()) return;
  if (before.phase >= order.block_first) {
    if (order.seen[running->flat][before.thread()] >= before.clock()) return;
  } else if (before.phase >= order.launch_first && acquired(before)) {
    return;
  }
  if (how == plain_write && wrote && !before.atomic() && bytes <= sizeof doubt.held) {
    doubt.some = true;
    doubt.region = &region;
    doubt.before = before;
    doubt.address = address, doubt.place = place, doubt.bytes = bytes;
    memcpy(doubt.held, reinterpret_cast<const void*>(address), bytes);
    return;
  }
  raise_race(before, wrote, region, writes(how), is_atomic(how), address, bytes, place);
}

/// Keeps a read: two of different threads, of different warps if there are such, and one of another block.
static inline void note_read(Cell& cell, const Access& access, uint32_t ordered) {
  const Order& order = order_of;
  Access* const held = cell.reads;
  const auto same = [&](const Access& other) { return other.thread() == access.thread() && other.phase >= order.block_first; };
  const auto dead = [&](const Access& other) { return other.phase < ordered; };
  const auto stale = [&](const Access& other) { return other.phase < access.phase && other.phase >= order.block_first; };
  if (same(held[0]) || dead(held[0])) held[0] = access;
  else if (same(held[1]) || dead(held[1])) held[1] = access;
  else if (stale(held[0])) held[0] = access;
  else if (stale(held[1]) || held[1].phase < order.block_first) held[1] = access;
  else if (held[0].thread() / lanes == held[1].thread() / lanes) held[1] = access;
}

/// A plain read in a loop that waits for it to change.
static inline void note_repeat(uintptr_t address, uintptr_t place) {
  if (__builtin_expect(++order_of.repeats < repeats_per_poll, 1)) return;
  order_of.repeats = 0;
  shadow_poll(reinterpret_cast<const void*>(address), cost_of_repeats, reinterpret_cast<const void*>(place));
}

/// What every cell of an access is compared with.
struct Now {
  Access access;
  uint32_t floor;    // what is older is over: of an earlier launch, or in shared memory of another block
  uint32_t foreign;  // phases from the floor up to the block's first: other blocks'
};

template <How how>
static inline __attribute__((always_inline)) Now look_around(const Region& region, const Thread* self, uintptr_t place) {
  const Order& order = order_of;
  const uint32_t floor = region.first > self->ordered ? region.first : self->ordered;
  return {{order.phase, self->flat << 22 | (is_atomic(how) ? Access::atomic_bit : 0) | order.clock[self->flat], uint32_t(place - regions.image)},
          floor, order.block_first > floor ? order.block_first - floor : 0};
}

template <How how>
static inline __attribute__((always_inline)) void check_cell(Cell& cell, Region& region, const Now& now, uintptr_t address, size_t bytes, uintptr_t place) {
  const auto unordered = [&](const Access& before) {
    return before.phase == now.access.phase ? ((before.who ^ now.access.who) >> 22) != 0 : before.phase - now.floor < now.foreign;
  };
  if (reads(how) && __builtin_expect(cell.write.phase < region.first, 0)) suspect_uninitialised(region, address, bytes, place);
  if (__builtin_expect(unordered(cell.write), 0)) judge(cell.write, true, region, how, address, bytes, place);
  if (writes(how)) {
    if (__builtin_expect(unordered(cell.reads[0]), 0)) judge(cell.reads[0], false, region, how, address, bytes, place);
    if (__builtin_expect(unordered(cell.reads[1]), 0)) judge(cell.reads[1], false, region, how, address, bytes, place);
    cell.write = now.access;
    if (!is_atomic(how)) cell.reads[0].phase = cell.reads[1].phase = 0;
  } else if (cell.reads[0].phase < now.floor || (cell.reads[0].phase == now.access.phase && cell.reads[0].thread() == now.access.thread())) {
    if (cell.reads[0].place == now.access.place) note_repeat(address, place);
    cell.reads[0] = now.access;
  } else {
    Access& last = order_of.last_read;
    if (order_of.last_cell == &cell && last.thread() == now.access.thread() && last.place == now.access.place) note_repeat(address, place);
    order_of.last_cell = &cell;
    last = now.access;
    note_read(cell, now.access, now.floor);
  }
}

/// Everything that is not quickly seen to be right.
template <How how>
[[gnu::noinline]] static void check_slowly(uintptr_t address, size_t bytes, uintptr_t place) {
  order_settle();
  Region* region = find_region(address);
  if (region == nullptr) {
    if (!regions.watching && address >= 4096) return;
    raise_bounds(nullptr, address, bytes, writes(how), place);
  }
  if (address < region->data || address + bytes > region->data + region->bytes) raise_bounds(region, address, bytes, writes(how), place);
  regions.recent[place >> 2 & (recent_count - 1)] = region;
  if (writes(how) && !region->writable) raise_read_only(*region, address, bytes, place);
  if (region->cells == nullptr) return;
  const size_t at = address - region->data;
  const size_t odd = (at | bytes) & ((size_t(1) << region->shift) - 1);
  if (odd) refine(*region, odd & 1 ? 0 : 1);
  const Now now = look_around<how>(*region, running, place);
  if (writes(how) && how != read_write) order_of.idle = 0;
  for (size_t i = at >> region->shift, end = (at + bytes) >> region->shift; i < end; ++i)
    check_cell<how>(region->cells[i], *region, now, region->data + (i << region->shift), size_t(1) << region->shift, place);
}

static inline __attribute__((always_inline)) bool on_own_stack(uintptr_t address) {
  return reinterpret_cast<uintptr_t>(running->stack) - 1 - address < stack_bytes;
}

/// All cells of an access that lies within a region.
template <How how>
[[gnu::noinline]] static void check_cells(Region& region, size_t at, size_t bytes, uintptr_t place) {
  order_settle();
  const Now now = look_around<how>(region, running, place);
  if (writes(how) && how != read_write) order_of.idle = 0;
  const uintptr_t address = region.data + at;
  for (size_t i = at >> region.shift, end = (at + bytes) >> region.shift; i < end; ++i)
    check_cell<how>(region.cells[i], region, now, address, bytes, place);
}

template <How how>
static inline __attribute__((always_inline)) void check_access(const void* pointer, size_t bytes, const void* returns_to) {
  const auto address = reinterpret_cast<uintptr_t>(pointer), place = reinterpret_cast<uintptr_t>(returns_to);
  if (on_own_stack(address)) {
#ifdef SPECFORGE_ADDRESS
    check_local(address, bytes, writes(how), place);
#endif
    return;
  }
  Region& region = *regions.recent[place >> 2 & (recent_count - 1)];
  const size_t at = address - region.data;
  if (__builtin_expect(at >= region.bytes || at + bytes > region.bytes, 0)) return check_slowly<how>(address, bytes, place);
  if (region.cells == nullptr && !writes(how)) return;
  if (__builtin_expect(region.cells == nullptr || ((at | bytes) & ((size_t(1) << region.shift) - 1)) != 0, 0))
    return check_slowly<how>(address, bytes, place);
  check_cells<how>(region, at, bytes, place);
}

static bool is_shared(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  return address - regions.all[0].start < regions.all[0].span || address - regions.all[1].start < regions.all[1].span;
}

void shadow_read(const void* address, size_t bytes, const void* pc) {
  if (bytes) check_access<plain_read>(address, bytes, pc ? pc : __builtin_return_address(0));
}

void shadow_write(void* address, size_t bytes, const void* pc) {
  if (bytes) check_access<plain_write>(address, bytes, pc ? pc : __builtin_return_address(0));
}

void shadow_atomic(void* address, size_t bytes, const void* pc) {
  if (pc == nullptr) pc = __builtin_return_address(0);
  if (reinterpret_cast<uintptr_t>(address) & (bytes - 1)) raise_misaligned(reinterpret_cast<uintptr_t>(address), bytes, reinterpret_cast<uintptr_t>(pc));
  const auto place = reinterpret_cast<uintptr_t>(address);
  acquire_from(place);
  check_access<read_write>(address, bytes, pc);
  release_to(place, !is_shared(address));
}

void shadow_forget(void* pointer, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  Region* region = find_region(address);
  if (region == nullptr || region->cells == nullptr || address < region->data || address + bytes > region->data + region->bytes) return;
  const size_t at = address - region->data;
  for (size_t i = at >> region->shift, end = (at + bytes) >> region->shift; i < end; ++i) region->cells[i].write.phase = 0;
}

void shadow_poll(const void* address, unsigned cost, const void* pc) {
  if ((order_of.idle += cost) > poll_limit)
    raise_stuck(reinterpret_cast<uintptr_t>(address), reinterpret_cast<uintptr_t>(pc ? pc : __builtin_return_address(0)));
  yield();
}

void raw_copy(void* to, const void* from, size_t bytes) { memcpy(to, from, bytes); }

void raw_store(void* to, const void* from, size_t bytes) {
  if (memcmp(to, from, bytes) != 0) order_of.idle = 0;
  memcpy(to, from, bytes);
}

/// Volatile accesses of global memory are atomic, as on a card; in shared memory they order nothing and are taken for plain.
template <bool write>
static inline void check_volatile(void* address, size_t bytes, const void* pc) {
  if (on_own_stack(reinterpret_cast<uintptr_t>(address))) return;
  const auto place = reinterpret_cast<uintptr_t>(address);
  if (is_shared(address)) {
    check_access<write ? plain_write : plain_read>(address, bytes, pc);
    if (!write) shadow_poll(address, 1, pc);
  } else if (write) {
    check_access<atomic_write>(address, bytes, pc);
    release_to(place, true);
  } else {
    shadow_poll(address, 1, pc);
    acquire_from(place);
    check_access<atomic_read>(address, bytes, pc);
  }
}

}  // namespace specforge_emulator

#define SPECFORGE_HIDDEN extern "C" __attribute__((visibility("hidden")))
#define SPECFORGE_HERE __builtin_return_address(0)
#define SPECFORGE_CALLBACKS(SIZE)                                                                                                        \
  SPECFORGE_HIDDEN void __tsan_read##SIZE(void* p) { specforge_emulator::check_access<specforge_emulator::plain_read>(p, SIZE, SPECFORGE_HERE); }   \
  SPECFORGE_HIDDEN void __tsan_write##SIZE(void* p) { specforge_emulator::check_access<specforge_emulator::plain_write>(p, SIZE, SPECFORGE_HERE); } \
  SPECFORGE_HIDDEN void __tsan_volatile_read##SIZE(void* p) { specforge_emulator::check_volatile<false>(p, SIZE, SPECFORGE_HERE); }      \
  SPECFORGE_HIDDEN void __tsan_volatile_write##SIZE(void* p) { specforge_emulator::check_volatile<true>(p, SIZE, SPECFORGE_HERE); }      \
  SPECFORGE_HIDDEN void __tsan_unaligned_read##SIZE(void* p) { specforge_emulator::check_access<specforge_emulator::plain_read>(p, SIZE, SPECFORGE_HERE); } \
  SPECFORGE_HIDDEN void __tsan_unaligned_write##SIZE(void* p) { specforge_emulator::check_access<specforge_emulator::plain_write>(p, SIZE, SPECFORGE_HERE); } \
  SPECFORGE_HIDDEN void __tsan_unaligned_volatile_read##SIZE(void* p) { specforge_emulator::check_volatile<false>(p, SIZE, SPECFORGE_HERE); } \
  SPECFORGE_HIDDEN void __tsan_unaligned_volatile_write##SIZE(void* p) { specforge_emulator::check_volatile<true>(p, SIZE, SPECFORGE_HERE); }
SPECFORGE_CALLBACKS(1)
SPECFORGE_CALLBACKS(2)
SPECFORGE_CALLBACKS(4)
SPECFORGE_CALLBACKS(8)
SPECFORGE_CALLBACKS(16)
#undef SPECFORGE_CALLBACKS

SPECFORGE_HIDDEN void __tsan_read_range(void* p, size_t bytes) { specforge_emulator::shadow_read(p, bytes, SPECFORGE_HERE); }
SPECFORGE_HIDDEN void __tsan_write_range(void* p, size_t bytes) { specforge_emulator::shadow_write(p, bytes, SPECFORGE_HERE); }
SPECFORGE_HIDDEN void __tsan_func_entry(void*) {}
SPECFORGE_HIDDEN void __tsan_func_exit() {}
SPECFORGE_HIDDEN void __tsan_init() {}
SPECFORGE_HIDDEN void __tsan_vptr_update(void**, void*) {}
SPECFORGE_HIDDEN void __tsan_vptr_read(void**) {}

#ifdef SPECFORGE_ADDRESS
#define SPECFORGE_ADDRESS_CALLBACKS(SIZE)                                                                                                 \
  SPECFORGE_HIDDEN void __asan_load##SIZE(void* p) { specforge_emulator::check_access<specforge_emulator::plain_read>(p, SIZE, SPECFORGE_HERE); } \
  SPECFORGE_HIDDEN void __asan_store##SIZE(void* p) { specforge_emulator::check_access<specforge_emulator::plain_write>(p, SIZE, SPECFORGE_HERE); }
SPECFORGE_ADDRESS_CALLBACKS(1)
SPECFORGE_ADDRESS_CALLBACKS(2)
SPECFORGE_ADDRESS_CALLBACKS(4)
SPECFORGE_ADDRESS_CALLBACKS(8)
SPECFORGE_ADDRESS_CALLBACKS(16)
#undef SPECFORGE_ADDRESS_CALLBACKS
SPECFORGE_HIDDEN void __asan_loadN(void* p, size_t bytes) { specforge_emulator::shadow_read(p, bytes, SPECFORGE_HERE); }
SPECFORGE_HIDDEN void __asan_storeN(void* p, size_t bytes) { specforge_emulator::shadow_write(p, bytes, SPECFORGE_HERE); }
SPECFORGE_HIDDEN void __asan_init() {}
SPECFORGE_HIDDEN void __asan_version_mismatch_check_v8() {}
SPECFORGE_HIDDEN void __asan_handle_no_return() {}
#define SPECFORGE_SET_SHADOW(NAME, VALUE) \
  SPECFORGE_HIDDEN void __asan_set_shadow_##NAME(void* p, size_t bytes) { memset(p, VALUE, bytes); }
SPECFORGE_SET_SHADOW(00, 0)
SPECFORGE_SET_SHADOW(f1, 0xf1)
SPECFORGE_SET_SHADOW(f2, 0xf2)
SPECFORGE_SET_SHADOW(f3, 0xf3)
SPECFORGE_SET_SHADOW(f5, 0xf5)
SPECFORGE_SET_SHADOW(f8, 0xf8)
#undef SPECFORGE_SET_SHADOW
#endif

SPECFORGE_HIDDEN void* specforge_memcpy(void* to, const void* from, size_t bytes) {
  specforge_emulator::shadow_read(from, bytes, SPECFORGE_HERE);
  specforge_emulator::shadow_write(to, bytes, SPECFORGE_HERE);
  return memcpy(to, from, bytes);
}
SPECFORGE_HIDDEN void* specforge_memmove(void* to, const void* from, size_t bytes) {
  specforge_emulator::shadow_read(from, bytes, SPECFORGE_HERE);
  specforge_emulator::shadow_write(to, bytes, SPECFORGE_HERE);
  return memmove(to, from, bytes);
}
SPECFORGE_HIDDEN void* specforge_memset(void* to, int value, size_t bytes) {
  specforge_emulator::shadow_write(to, bytes, SPECFORGE_HERE);
  return memset(to, value, bytes);
}

#endif
