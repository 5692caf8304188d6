// What happens before what. Blocks run one after another and threads take turns, so nothing here is lost to chance: an order
// that only the emulator's own schedule made is no order, and two accesses that only it keeps apart are a race.
//
// A phase ends when all threads of a block have met. Within a phase a thread has seen what the clocks in its row of `seen`
// say: its warp's, joined at __syncwarp, and others' that it met at a named barrier or through a fence and an atomic. What
// other blocks did is seen through fences and atomics alone (emulator_release.h).
#ifndef SPECFORGE_EMULATOR_ORDER_H
#define SPECFORGE_EMULATOR_ORDER_H

#include "emulator_scheduler.h"

#ifndef SPECFORGE_SHADOW

#ifndef SPECFORGE_SANITIZE
#define SPECFORGE_SANITIZE "off"
#endif

namespace specforge_emulator {
inline bool order_launch(const Launch&, unsigned char*, size_t, unsigned char*) { return true; }
inline void order_block() {}
inline void order_release_memory() {}
}  // namespace specforge_emulator

#else

#ifdef SPECFORGE_ADDRESS
#define SPECFORGE_SANITIZE "address"
#else
#define SPECFORGE_SANITIZE "shadow"
#endif

#include "emulator_regions.h"

namespace specforge_emulator {

constexpr unsigned slots = 64;

struct Order {
  uint32_t phase, block_first, launch_first, run_first;
  uint32_t unseen;  // the first phase that a thread starts without having seen: the launch's, or that of the launch before
  uint32_t clock[maximum_threads];
  uint32_t seen[maximum_threads][maximum_threads];  // by linear thread number: the clocks of others that it has seen
  bool wide;                                        // rows have entries beyond the thread's own warp
  uint32_t slot[slots][maximum_threads];
  uint32_t slot_phase[slots];
  unsigned idle;     // polls since something last changed
  const Cell* last_cell;  // that a read found others' reads in
  Access last_read;
  unsigned repeats;  // reads of a place that the same thread had read last, by the same instruction
};
static Order order_of;

/// A write that meets another's. Both may write the same, and then it does not matter which was last: known after the write.
struct Doubt {
  bool some;
  const Region* region;
  Access before;
  uintptr_t address, place;
  size_t bytes;
  unsigned char held[64];
};
static Doubt doubt;

}  // namespace specforge_emulator

#include "emulator_release.h"

namespace specforge_emulator {

static inline void join(uint32_t* into, const uint32_t* from, unsigned count) {
  for (unsigned i = 0; i < count; ++i) into[i] = into[i] > from[i] ? into[i] : from[i];
}

/// Columns of a row that may differ from zero.
static inline unsigned first_column(unsigned thread) { return order_of.wide ? 0 : thread & ~(lanes - 1); }
static inline unsigned columns() { return order_of.wide ? machine.warp_count * lanes : lanes; }

static void tick_clock(unsigned thread) {
  Order& order = order_of;
  if (++order.clock[thread] < Access::clock_mask) return;
  // Clocks have no more bits. A new phase orders everything so far, which hides at most a race.
  for (uint32_t& clock : order.clock) clock = 1;
  memset(order.seen, 0, sizeof order.seen);
  ++order.phase;
}

void order_warp(unsigned mask, Warp* warp) {
  Order& order = order_of;
  const unsigned base = warp->number * lanes;
  uint32_t joined[maximum_threads];
  const unsigned first = first_column(base), count = columns();
  memset(joined, 0, count * sizeof(uint32_t));
  each_lane(mask, [&](unsigned lane) { join(joined, order.seen[base + lane] + first, count); });
  each_lane(mask, [&](unsigned lane) { joined[base + lane - first] = order.clock[base + lane]; });
  each_lane(mask, [&](unsigned lane) { memcpy(order.seen[base + lane] + first, joined, count * sizeof(uint32_t)); });
  each_lane(mask, [&](unsigned lane) { tick_clock(base + lane); });
  share_acquired(mask, base);
}

void order_release(unsigned slot) {
  Order& order = order_of;
  const unsigned self = running->flat;
  if (order.slot_phase[slot] != order.phase) order_clear(slot);
  order.wide = true;
  join(order.slot[slot], order.seen[self], maximum_threads);
  order.slot[slot][self] = order.clock[self];
  share_with_slot(slot);
  tick_clock(self);
}

void order_acquire(unsigned slot) {
  Order& order = order_of;
  if (order.slot_phase[slot] != order.phase) return;
  join(order.seen[running->flat], order.slot[slot], maximum_threads);
  share_from_slot(slot);
}

void order_clear(unsigned slot) {
  memset(order_of.slot[slot], 0, sizeof order_of.slot[slot]);
  order_of.slot_phase[slot] = order_of.phase;
  clear_slot_set(slot);
}

void order_phase() {
  ++order_of.phase;
  order_of.idle = 0;
  share_acquired_with_block();
}

void order_launches() { running->ordered = order_of.launch_first; }

/// Makes room for the library's own regions and `tensors` more.
static bool prepare_regions(unsigned tensors) {
  const bool fresh = regions.all == nullptr;
  if (!reserve_regions(own_regions + tensors)) return false;
  if (!fresh) return true;
  regions.count = own_regions;
  find_image();
  for (unsigned i = 0; i < own_regions; ++i) regions.all[i].shift = 2;
  for (uint32_t& clock : order_of.clock) clock = 1;
  return give_cells(regions.all[2]);
}

/// Before a launch's first block; false when memory is short.
static bool order_launch(const Launch& launch, unsigned char* static_shared, size_t static_bytes, unsigned char* dynamic) {
  Order& order = order_of;
  if (!prepare_regions(0)) return false;
  ++order.phase;
  order.unseen = launch.dependent ? order.launch_first : order.phase;
  order.launch_first = order.phase;
  for (Thread& thread : machine.threads) thread.ordered = order.unseen;
  place_region(regions.all[0], region_static_shared, reinterpret_cast<uintptr_t>(static_shared), static_bytes, order.phase);
  place_region(regions.all[1], region_dynamic_shared, reinterpret_cast<uintptr_t>(dynamic), launch.shared_bytes, order.phase);
  regions.all[1].start -= 16;  // what lies around it in its allocation
  regions.all[1].span += 32 + canary_bytes;
  bool enough = give_cells(regions.all[0]) && give_cells(regions.all[1]);
  for (unsigned i = 0; i < regions.array_count; ++i) {
    const SharedArray& array = regions.arrays[i];
    Region& region = regions.all[4 + i];
    place_region(region, region_static_shared, reinterpret_cast<uintptr_t>(static_shared) + array.offset, array.bytes, order.phase);
    region.name = array.name;
    enough = enough && give_cells(region);
  }
  forget_recent();
  forget_releases();
  doubt.some = false;
  order.idle = 0;
  return enough;
}

static void order_block() {
  Order& order = order_of;
  order.block_first = ++order.phase;
  regions.all[0].first = regions.all[1].first = order.phase;
  for (unsigned i = 0; i < regions.array_count; ++i) regions.all[4 + i].first = *regions.arrays[i].name ? order.phase : 0;
  order.idle = 0;
  if (machine.launch->dependent)
    for (Thread& thread : machine.threads) thread.ordered = order.unseen;
  note_block(order.phase);
}

static void order_release_memory() {
  for (unsigned i = 0; i < regions.capacity; ++i) unmap_cells(regions.all[i]);
  free(regions.all);
  regions.all = nullptr;
  regions.count = regions.capacity = 0;
  regions.watching = false;
}

}  // namespace specforge_emulator

/// Tells where the `__shared__` variables are, once for a library. One without a name is the compiler's own and needs no writing.
extern "C" __attribute__((visibility("default"))) void specforge_emulator_arrays(const specforge_emulator::SharedArray* arrays, unsigned count) {
  using namespace specforge_emulator;
  regions.array_count = count <= maximum_arrays ? count : 0;
  for (unsigned i = 0; i < regions.array_count; ++i) regions.arrays[i] = arrays[i];
}

/// Tells which memory the launches that follow may touch: the tensors of one case. Those to be written hold nothing yet, unless updated in place.
extern "C" __attribute__((visibility("default"))) int specforge_emulator_watch(const specforge_emulator::Watched* watched, unsigned count) {
  using namespace specforge_emulator;
  Order& order = order_of;
  pthread_mutex_lock(&busy);
  if (order.phase > 0xe0000000u) {  // phases are about to run out: nothing that was noted may count again
    order_release_memory();
    order.phase = 0;
    memset(order.slot_phase, 0, sizeof order.slot_phase);
  }
  int done = 0;
  if (prepare_regions(count)) {
    order.run_first = ++order.phase;
    done = 1;
    regions.watching = true;
    regions.count = own_regions + count;
    for (unsigned i = 0; i < count; ++i) {
      Region& region = regions.all[own_regions + i];
      region.start = watched[i].address - watched[i].before;
      region.span = watched[i].before + watched[i].bytes + watched[i].after;
      region.data = watched[i].address;
      region.bytes = watched[i].bytes;
      region.kind = region_tensor;
      region.element = watched[i].element;
      region.writable = watched[i].writable != 0;
      region.first = watched[i].writable == 2 ? 0 : order.run_first;  // all of it counts as written; launches bound the order
      region.name = watched[i].name;
      region.shift = region.element >= 4 ? 2 : region.element == 2 ? 1 : 0;
      if (!region.writable) region.cells = nullptr;
      else if (!give_cells(region)) done = 0;
    }
    forget_recent();
  }
  pthread_mutex_unlock(&busy);
  return done;
}

#endif

#endif
