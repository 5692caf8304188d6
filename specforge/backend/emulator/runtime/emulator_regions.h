// What a sanitized kernel may touch, and what the sanitizer knows of every piece of it.
#ifndef SPECFORGE_EMULATOR_REGIONS_H
#define SPECFORGE_EMULATOR_REGIONS_H

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "emulator_scheduler.h"

namespace specforge_emulator {

/// One access: when (phases count barriers, blocks and launches since the library was loaded), by whom, from where.
struct Access {
  uint32_t phase;
  uint32_t who;  // 10 bits thread, 1 bit atomic, 21 bits the thread's clock
  uint32_t place;

  unsigned thread() const { return who >> 22; }
  bool atomic() const { return (who >> 21 & 1) != 0; }
  uint32_t clock() const { return who & clock_mask; }
  static constexpr uint32_t clock_mask = (1u << 21) - 1, atomic_bit = 1u << 21;
};

/// The last write of a piece of memory and two reads since, by different threads. Nothing of an earlier phase than the
/// region's first counts, so cells need no clearing.
struct Cell {
  Access write, reads[2];
};

enum RegionKind : unsigned char { region_tensor, region_static_shared, region_dynamic_shared, region_variables, region_constants };

/// A stretch of memory, with the guard zones that belong to it: `start` and `span` cover both.
struct Region {
  uintptr_t start;
  size_t span;
  uintptr_t data;
  size_t bytes;
  Cell* cells;         // null: only bounds are checked
  Cell* mapping;       // kept for the next case
  size_t mapped;       // bytes of it
  unsigned shift;      // a cell stands for 1 << shift bytes
  uint32_t first;      // what was not written in this phase or later was not written
  bool writable;
  RegionKind kind;
  unsigned element;    // bytes
  const char* name;
};

/// What the Python side passes in, one for each tensor of a case.
struct Watched {
  uint64_t address, bytes, before, after;
  uint32_t element, writable;  // 0: an input, 1: holds nothing yet, 2: updated in place
  const char* name;
};

constexpr unsigned maximum_arrays = 64;
constexpr unsigned own_regions = 4 + maximum_arrays;  // static and dynamic shared memory, variables and constants, shared arrays

/// A `__shared__` variable: where it is in the static shared memory. What lies between two belongs to none.
struct SharedArray {
  uint64_t offset, bytes;
  const char* name;
};
constexpr unsigned recent_count = 256;

struct Regions {
  Region* all;
  unsigned count, capacity;
  bool watching;  // false: memory that is no region is the caller's business
  Region* recent[recent_count];  // by the instruction that asks: it mostly asks for the same again
  uintptr_t image;
  SharedArray arrays[maximum_arrays];
  unsigned array_count;  // 0: not known
};
static Regions regions;

static Cell* map_cells(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<Cell*>(memory);
}

static void unmap_cells(Region& region) {
  if (region.mapping != nullptr) munmap(region.mapping, region.mapped);
  region.mapping = region.cells = nullptr;
  region.mapped = 0;
}

/// Gives a region cells, those that it has if they are enough: what they say of another time is too old to count.
static bool give_cells(Region& region) {
  const size_t wanted = (region.bytes + 16) * sizeof(Cell);  // a cell for each byte, should it come to that
  if (region.mapping == nullptr || region.mapped < wanted) {
    unmap_cells(region);
    region.mapping = map_cells(wanted);
    region.mapped = region.mapping == nullptr ? 0 : wanted;
  }
  region.cells = region.mapping;
  return region.cells != nullptr;
}

/// Cells for smaller pieces: each becomes several, which know what it knew.
static void refine(Region& region, unsigned shift) {
  const size_t count = (region.bytes + (size_t(1) << region.shift) - 1) >> region.shift, parts = size_t(1) << (region.shift - shift);
  for (size_t i = count; i-- > 0;) {
    const Cell cell = region.cells[i];
    for (size_t part = parts; part-- > 0;) region.cells[i * parts + part] = cell;
  }
  region.shift = shift;
}

static void forget_recent() {
  for (Region*& region : regions.recent) region = &regions.all[own_regions - 1];
}

static bool reserve_regions(unsigned count) {
  if (count <= regions.capacity) return true;
  auto* all = static_cast<Region*>(realloc(regions.all, count * sizeof(Region)));
  if (all == nullptr) return false;
  memset(all + regions.capacity, 0, (count - regions.capacity) * sizeof(Region));
  regions.all = all;
  regions.capacity = count;
  return true;
}

/// The library's own data: what may be written, and what may be read only.
static void find_image() {
  regions.image = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void*) {
        const auto here = reinterpret_cast<uintptr_t>(&machine);
        bool ours = false;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          if (header.p_type == PT_LOAD && here - (info->dlpi_addr + header.p_vaddr) < header.p_memsz) ours = true;
        }
        if (!ours) return 0;
        regions.image = info->dlpi_addr;
        uintptr_t low = ~uintptr_t(0), high = 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          if (header.p_type != PT_LOAD) continue;
          const uintptr_t start = info->dlpi_addr + header.p_vaddr, end = start + header.p_memsz;
          if (header.p_flags & PF_W) {
            Region& region = regions.all[2];
            region.start = region.data = start & ~uintptr_t(15);
            region.span = region.bytes = end - region.start;
            region.kind = region_variables;
            region.writable = true;
            region.first = 0;
          } else {
            low = start < low ? start : low;
            high = end > high ? end : high;
          }
        }
        Region& constants = regions.all[3];
        constants.start = constants.data = low;
        constants.span = constants.bytes = high > low ? high - low : 0;
        constants.kind = region_constants;
        constants.writable = false;
        return 1;
      },
      nullptr);
}

static void place_region(Region& region, RegionKind kind, uintptr_t data, size_t bytes, uint32_t first) {
  region.kind = kind;
  region.start = region.data = data;
  region.span = region.bytes = bytes;
  region.writable = true;
  region.first = first;
}

/// The region that holds the address, in its guard zones or between; null when there is none.
static Region* find_region(uintptr_t address) {
  for (unsigned i = regions.array_count ? 1 : 0; i < regions.count; ++i)
    if (address - regions.all[i].start < regions.all[i].span) return &regions.all[i];
  return nullptr;
}

/// The tensor that lies nearest to an address, within the block's shared memory the array; null when there is none.
static Region* nearest_region(uintptr_t address, size_t* distance) {
  Region* best = nullptr;
  const bool shared = address - regions.all[0].start + 512 < regions.all[0].span + 1024;
  const unsigned first = shared ? 4 : own_regions, end = shared ? 4 + regions.array_count : regions.count;
  for (unsigned i = first; i < end; ++i) {
    Region& region = regions.all[i];
    const size_t away = address < region.data ? region.data - address : address < region.data + region.bytes ? 0 : address - (region.data + region.bytes);
    if (best == nullptr || away < *distance) best = &region, *distance = away;
  }
  return best;
}

}  // namespace specforge_emulator

#endif
