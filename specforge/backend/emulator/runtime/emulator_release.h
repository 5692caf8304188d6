// Order without a barrier: a fence, an atomic write; elsewhere an atomic read of the same place, and what came before the
// fence has been seen. A block that reads so has seen what a block before it did; all else between blocks is a race.
#ifndef SPECFORGE_EMULATOR_RELEASE_H
#define SPECFORGE_EMULATOR_RELEASE_H

#include "emulator_regions.h"

namespace specforge_emulator {

/// A growing array.
template <typename T>
struct List {
  T* items;
  unsigned count, capacity;

  T& operator[](unsigned i) { return items[i]; }
  T& add(const T& item) {
    if (count == capacity) {
      capacity = capacity ? 2 * capacity : 16;
      items = static_cast<T*>(realloc(static_cast<void*>(items), capacity * sizeof(T)));
      if (items == nullptr) abort();
    }
    items[count] = item;
    return items[count++];
  }
  /// The first item of at least this phase.
  unsigned from(uint32_t phase) {
    unsigned low = 0, high = count;
    while (low < high) {
      const unsigned middle = (low + high) / 2;
      if (items[middle].phase < phase) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  void release() {
    free(items);
    items = nullptr;
    count = capacity = 0;
  }
};

struct BlockStart {
  uint32_t phase;
  uint3 index;
};

struct Fence {
  uint32_t phase, thread, clock;
};

/// An atomic write after a fence. By lane of its warp: the clocks seen when it was made, and at the fence (0: none in this phase).
struct Publication {
  uint32_t phase, thread;
  uint32_t seen[lanes], fenced[lanes];
};

/// The first `count` publications of a place.
struct Acquired {
  unsigned location, count;
};

struct Location {
  uintptr_t address;
  List<Publication> publications;
  unsigned set;        // what those had acquired
  uint32_t* row;       // released within the block, in this phase:
  uint32_t row_phase;
};

struct Releases {
  List<BlockStart> blocks;
  List<Fence> fences;
  List<Location> locations;
  unsigned* table;  // from a hash of the address to a location, plus 1
  unsigned table_size;
  List<List<Acquired>> sets;  // 0 is the empty one
  unsigned of_thread[maximum_threads], of_block, of_slot[slots];
  bool some;  // any of them is not empty
  uint32_t fence_phase[maximum_threads], block_fence_phase[maximum_threads];
  uint32_t fence_row[maximum_threads][lanes];
  uint32_t block_fence_row[maximum_threads][maximum_threads];
};
static Releases releases;

static Location* find_location(uintptr_t address, bool add) {
  Releases& all = releases;
  if (all.table_size == 0 && !add) return nullptr;
  if (add && all.locations.count * 2 >= all.table_size) {
    free(all.table);
    all.table_size = all.table_size ? 2 * all.table_size : 256;
    all.table = static_cast<unsigned*>(calloc(all.table_size, sizeof(unsigned)));
    if (all.table == nullptr) abort();
    for (unsigned i = 0; i < all.locations.count; ++i) {
      unsigned at = unsigned(all.locations[i].address * 0x9e3779b97f4a7c15ull >> 32) & (all.table_size - 1);
      while (all.table[at]) at = (at + 1) & (all.table_size - 1);
      all.table[at] = i + 1;
    }
  }
  unsigned at = unsigned(address * 0x9e3779b97f4a7c15ull >> 32) & (all.table_size - 1);
  for (; all.table[at]; at = (at + 1) & (all.table_size - 1))
    if (all.locations[all.table[at] - 1].address == address) return &all.locations[all.table[at] - 1];
  if (!add) return nullptr;
  Location& location = all.locations.add(Location{address, {}, 0, nullptr, 0});
  all.table[at] = all.locations.count;
  return &location;
}

/// Everything in either set.
static unsigned unite(unsigned a, unsigned b) {
  if (a == b || b == 0) return a;
  if (a == 0) return b;
  Releases& all = releases;
  List<Acquired> united = {};
  for (unsigned i = 0; i < all.sets[a].count; ++i) united.add(all.sets[a][i]);
  bool grown = false;
  for (unsigned i = 0; i < all.sets[b].count; ++i) {
    const Acquired item = all.sets[b][i];
    unsigned j = 0;
    while (j < united.count && united[j].location != item.location) ++j;
    if (j == united.count) united.add(item), grown = true;
    else if (united[j].count < item.count) united[j].count = item.count, grown = true;
  }
  if (!grown) {
    united.release();
    return a;
  }
  all.sets.add(united);
  return all.sets.count - 1;
}

static unsigned set_of(Acquired item) {
  if (releases.sets.count == 0) releases.sets.add({});
  List<Acquired> one = {};
  one.add(item);
  releases.sets.add(one);
  releases.some = true;
  return releases.sets.count - 1;
}

static void forget_releases() {
  Releases& all = releases;
  if (!machine.launch->dependent) all.blocks.count = 0;
  all.fences.count = 0;
  for (unsigned i = 0; i < all.locations.count; ++i) {
    all.locations[i].publications.release();
    free(all.locations[i].row);
  }
  all.locations.count = 0;
  if (all.table_size) memset(all.table, 0, all.table_size * sizeof(unsigned));
  for (unsigned i = 0; i < all.sets.count; ++i) all.sets[i].release();
  all.sets.count = 0;
  memset(all.of_thread, 0, sizeof all.of_thread);
  memset(all.of_slot, 0, sizeof all.of_slot);
  all.of_block = 0;
  all.some = false;
}

static void note_block(uint32_t phase) {
  Releases& all = releases;
  all.blocks.add({phase, block_index});
  if (!all.some) return;
  memset(all.of_thread, 0, sizeof all.of_thread);
  all.of_block = 0;
  all.some = false;
}

static void share_acquired(unsigned mask, unsigned base) {
  if (!releases.some) return;
  unsigned set = 0;
  each_lane(mask, [&](unsigned lane) { set = unite(set, releases.of_thread[base + lane]); });
  each_lane(mask, [&](unsigned lane) { releases.of_thread[base + lane] = set; });
}

static void share_acquired_with_block() {
  if (!releases.some) return;
  for (unsigned& set : releases.of_thread) {
    releases.of_block = unite(releases.of_block, set);
    set = 0;
  }
}

static void share_with_slot(unsigned slot) { releases.of_slot[slot] = unite(releases.of_slot[slot], releases.of_thread[running->flat]); }
static void share_from_slot(unsigned slot) { releases.of_thread[running->flat] = unite(releases.of_thread[running->flat], releases.of_slot[slot]); }
static void clear_slot_set(unsigned slot) { releases.of_slot[slot] = 0; }

static void tick_clock(unsigned thread);
static inline void join(uint32_t* into, const uint32_t* from, unsigned count);

void order_fence_block() {
  Order& order = order_of;
  const unsigned self = running->flat, first = order.wide ? 0 : self & ~(lanes - 1), count = order.wide ? maximum_threads : lanes;
  memcpy(releases.block_fence_row[self] + first, order.seen[self] + first, count * sizeof(uint32_t));
  releases.block_fence_row[self][self] = order.clock[self];
  releases.block_fence_phase[self] = order.phase;
  tick_clock(self);
}

void order_fence() {
  Order& order = order_of;
  const unsigned self = running->flat;
  memcpy(releases.fence_row[self], order.seen[self] + (self & ~(lanes - 1)), sizeof releases.fence_row[self]);
  releases.fence_row[self][self % lanes] = order.clock[self];
  releases.fence_phase[self] = order.phase;
  releases.fences.add({order.phase, self, order.clock[self]});
  order_fence_block();
}

/// An atomic write by the running thread.
static void release_to(uintptr_t address, bool global) {
  Order& order = order_of;
  Releases& all = releases;
  const unsigned self = running->flat;
  if (all.block_fence_phase[self] == order.phase) {
    Location& location = *find_location(address, true);
    if (location.row == nullptr) location.row = static_cast<uint32_t*>(malloc(sizeof order.seen[0]));
    if (location.row == nullptr) abort();
    if (location.row_phase != order.phase) memset(location.row, 0, sizeof order.seen[0]);
    location.row_phase = order.phase;
    const unsigned first = order.wide ? 0 : self & ~(lanes - 1);
    join(location.row + first, all.block_fence_row[self] + first, order.wide ? maximum_threads : lanes);
  }
  if (!global || all.fences.count == 0 || all.fences[all.fences.count - 1].phase < order.block_first) return;
  Location& location = *find_location(address, true);
  Publication own = {order.phase, self, {}, {}};
  memcpy(own.seen, order.seen[self] + (self & ~(lanes - 1)), sizeof own.seen);
  own.seen[self % lanes] = order.clock[self];
  if (all.fence_phase[self] == order.phase) memcpy(own.fenced, all.fence_row[self], sizeof own.fenced);
  List<Publication>& made = location.publications;
  if (made.count && made[made.count - 1].phase == own.phase && made[made.count - 1].thread == own.thread) made[made.count - 1] = own;
  else made.add(own);
  location.set = unite(location.set, unite(all.of_thread[self], all.of_block));
}

/// An atomic read by the running thread.
static void acquire_from(uintptr_t address) {
  Order& order = order_of;
  Location* location = find_location(address, false);
  if (location == nullptr) return;
  const unsigned self = running->flat;
  if (location->row != nullptr && location->row_phase == order.phase) {
    order.wide = true;
    join(order.seen[self], location->row, maximum_threads);
  }
  if (location->publications.count == 0) return;
  const unsigned set = set_of({unsigned(location - releases.locations.items), location->publications.count});
  releases.of_thread[self] = unite(unite(releases.of_thread[self], location->set), set);
}

static bool fenced(uint32_t phase, uint32_t thread, uint32_t from, uint32_t to) {
  List<Fence>& fences = releases.fences;
  for (unsigned i = fences.from(phase); i < fences.count && fences[i].phase == phase; ++i)
    if (fences[i].thread == thread && fences[i].clock >= from && fences[i].clock <= to) return true;
  return false;
}

/// Whether an access of its own block came before the fence of a publication.
static bool covers(Publication& publication, const Access& access) {
  const unsigned lane = access.thread() % lanes;
  if (access.phase < publication.phase) {
    if (publication.fenced[publication.thread % lanes]) return true;
    List<Fence>& fences = releases.fences;
    const unsigned later = fences.from(access.phase + 1);
    if (later < fences.count && fences[later].phase < publication.phase) return true;
    return fenced(access.phase, access.thread(), access.clock(), ~0u);
  }
  if (access.thread() / lanes != publication.thread / lanes) return order_of.wide;  // not known; no false alarm
  return access.clock() <= publication.fenced[lane] || fenced(access.phase, access.thread(), access.clock(), publication.seen[lane]);
}

/// Whether the running thread has seen an access of another block.
static bool acquired(const Access& access) {
  Releases& all = releases;
  if (!all.some) return false;
  const unsigned next = all.blocks.from(access.phase + 1);
  const uint32_t end = next < all.blocks.count ? all.blocks[next].phase : ~0u;
  for (const unsigned set : {all.of_thread[running->flat], all.of_block}) {
    if (set == 0) continue;
    for (unsigned i = 0; i < all.sets[set].count; ++i) {
      const Acquired item = all.sets[set][i];
      List<Publication>& made = all.locations[item.location].publications;
      for (unsigned p = made.from(access.phase); p < item.count && made[p].phase < end; ++p)
        if (covers(made[p], access)) return true;
    }
  }
  return false;
}

}  // namespace specforge_emulator

#endif
