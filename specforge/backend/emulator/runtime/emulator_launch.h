// A launch: checked as the driver would, laid out by the schedule, its blocks run one after another.
#ifndef SPECFORGE_EMULATOR_LAUNCH_H
#define SPECFORGE_EMULATOR_LAUNCH_H

#include <link.h>
#include <stdlib.h>

#include <utility>

#include <vector_functions.h>

#include "emulator_copies.h"
#include "emulator_groups.h"
#include "emulator_order.h"

extern "C" void* __tls_get_addr(unsigned long* module_and_offset);

namespace specforge_emulator {

constexpr unsigned poison = 0xff;  // NaN in every float format, -1 in every signed integer
constexpr unsigned canary = 0xa5;
constexpr uint64_t maximum_shared_bytes = 227 << 10;

static thread_local unsigned char shared_anchor[16];  // one variable at least, to check the block by

struct SharedBlock {
  unsigned char* address;
  size_t bytes;
};

/// Where this library's `__shared__` variables are for the launching thread: its thread-local segment. The loader's dlpi_tls_data
/// is not enough, being null where a small segment was given room in the static block; asking for offset 0 always works.
static SharedBlock find_shared() {
  SharedBlock found = {nullptr, 0};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        bool ours = false;
        size_t bytes = 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          const auto start = info->dlpi_addr + header.p_vaddr, here = reinterpret_cast<uintptr_t>(&machine);
          if (header.p_type == PT_LOAD && here >= start && here < start + header.p_memsz) ours = true;
          if (header.p_type == PT_TLS) bytes = header.p_memsz;
        }
        if (!ours) return 0;
        unsigned long index[2] = {info->dlpi_tls_modid, 0};
        *static_cast<SharedBlock*>(result) = {static_cast<unsigned char*>(__tls_get_addr(index)), bytes};
        return 1;
      },
      &found);
  const bool holds = shared_anchor >= found.address && shared_anchor + sizeof shared_anchor <= found.address + found.bytes;
  return holds ? found : SharedBlock{nullptr, 0};
}

static uint64_t mix(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

/// 0 keeps the natural order, 1 reverses it, anything else shuffles.
static void order(unsigned char* places, unsigned count, uint64_t schedule, uint64_t& state) {
  for (unsigned i = 0; i < count; ++i) places[i] = (unsigned char)(schedule == 1 ? count - 1 - i : i);
  if (schedule < 2) return;
  for (unsigned i = count; i > 1; --i) std::swap(places[i - 1], places[mix(state) % i]);
}

static void lay_out_threads(const Launch& launch) {
  const unsigned total = launch.block[0] * launch.block[1] * launch.block[2];
  machine.warp_count = (total + lanes - 1) / lanes;
  uint64_t state = launch.schedule;
  unsigned char warp_at[lanes], lane_at[lanes];
  order(warp_at, machine.warp_count, launch.schedule, state);
  for (unsigned place = 0; place < machine.warp_count; ++place) {
    Warp& warp = machine.warps[place];
    warp.threads = &machine.threads[place * lanes];
    warp.number = warp_at[place];
    warp.place = place;
    const unsigned count = total - warp.number * lanes;
    warp.exists = count >= lanes ? everyone : (1u << count) - 1;
    order(lane_at, lanes, launch.schedule, state);
    for (unsigned slot = 0; slot < lanes; ++slot) {
      Thread& thread = warp.threads[slot];
      const unsigned lane = lane_at[slot], flat = warp.number * lanes + lane;
      thread.warp = &warp;
      thread.lane = lane;
      thread.slot = slot;
      thread.flat = flat;
      thread.packed = flat % launch.block[0] | uint64_t(flat / launch.block[0] % launch.block[1]) << 10 |
                      uint64_t(flat / launch.block[0] / launch.block[1]) << 20;
      thread.index = make_uint3(flat % launch.block[0], flat / launch.block[0] % launch.block[1], flat / launch.block[0] / launch.block[1]);
      warp.slot_of[lane] = (unsigned char)slot;
    }
  }
}

static void begin_block() {
  Block& block = machine.block;
  block.live = block.waiting = block.warps_ready = 0;
  if (machine.uses_named) memset(machine.named, 0, sizeof machine.named);
  if (machine.uses_copies)
    for (Thread& thread : machine.threads) discard_copies(thread);
  machine.uses_named = machine.uses_copies = false;
  for (unsigned place = 0; place < machine.warp_count; ++place) {
    Warp& warp = machine.warps[place];
    warp.exited = warp.started = warp.barrier = warp.ready = warp.group_count = 0;
    each_lane(warp.exists, [&](unsigned lane) { warp.ready |= 1u << warp.slot_of[lane]; });
    block.live += unsigned(__builtin_popcount(warp.exists));
    block.warps_ready |= 1u << place;
  }
}

static int refuse(Launch& launch, const char* format, unsigned long long value, unsigned long long limit) {
  snprintf(launch.message, sizeof launch.message, format, value, limit);
  return fault_launch;
}

static int check(Launch& launch, unsigned bound) {
  static const char* const axes = "xyz";
  const unsigned block_limits[3] = {1024, 1024, 64}, grid_limits[3] = {0x7fffffffu, 65535, 65535};
  uint64_t total = 1;
  for (int i = 0; i < 3; ++i) {
    char text[80];
    snprintf(text, sizeof text, "block.%c is %%llu, of 1 to %%llu", axes[i]);
    if (launch.block[i] == 0 || launch.block[i] > block_limits[i]) return refuse(launch, text, launch.block[i], block_limits[i]);
    snprintf(text, sizeof text, "grid.%c is %%llu, of 1 to %%llu", axes[i]);
    if (launch.grid[i] == 0 || launch.grid[i] > grid_limits[i]) return refuse(launch, text, launch.grid[i], grid_limits[i]);
    total *= launch.block[i];
  }
  if (total > maximum_threads) return refuse(launch, "a block of %llu threads exceeds %llu", total, maximum_threads);
  if (bound != 0 && total > bound) return refuse(launch, "a block of %llu threads exceeds the entry's __launch_bounds__ of %llu", total, bound);
  if (launch.shared_bytes > maximum_shared_bytes)
    return refuse(launch, "%llu bytes of dynamic shared memory exceed %llu", launch.shared_bytes, maximum_shared_bytes);
  return fault_none;
}

static int run_block() {
  begin_block();
  running = pick(&machine.warps[0]);
  running->warp->started |= 1u << running->slot;
  unsigned char* stack = machine.stacks.take();
  if (stack == nullptr) {
    snprintf(machine.launch->message, sizeof machine.launch->message, "no memory for the stacks of the block's threads");
    return fault_launch;
  }
  running->stack = stack;
  machine.fault = fault_none;
  specforge_emulator_switch(&machine.launcher, prepare(stack, run_threads));
  return machine.fault;
}

static uint64_t packed_extent(const unsigned (&extent)[3], unsigned x_bits, unsigned y_bits) {
  return extent[0] | uint64_t(extent[1]) << x_bits | uint64_t(extent[2]) << (x_bits + y_bits);
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b) { return b == 0 ? a : greatest_divisor(b, a % b); }

/// Runs every block of the grid, one after another, until one faults.
static int run_grid(Launch& launch, unsigned char* dynamic) {
  const SharedBlock shared = find_shared();
  if (shared.address == nullptr) return refuse(launch, "the loader does not say where shared memory is", 0, 0);
  machine.static_shared = shared.address;
  machine.static_shared_bytes = shared.bytes;
  if (!order_launch(launch, shared.address, shared.bytes, dynamic)) return refuse(launch, "no memory to keep track of what the kernel touches", 0, 0);
  const uint64_t count = uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  // The i-th block to run is number (i * step + offset) mod count: a permutation when step and count have no common divisor.
  uint64_t state = launch.schedule ^ 0x5bf03635ull, step = 1, offset = 0;
  if (launch.schedule > 1 && count > 1) {
    offset = mix(state) % count;
    for (step = 1 + mix(state) % (count - 1); greatest_divisor(step, count) != 1;) step = 1 + mix(state) % (count - 1);
  }
  const size_t rounded = (launch.shared_bytes + 15) & ~size_t(15);
  memset(dynamic + rounded, canary, canary_bytes);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t number = launch.schedule == 1 ? count - 1 - i : uint64_t(((unsigned __int128)i * step + offset) % count);
    block_index = make_uint3(unsigned(number % launch.grid[0]), unsigned(number / launch.grid[0] % launch.grid[1]),
                             unsigned(number / launch.grid[0] / launch.grid[1]));
    machine.packed_block = block_index.x | uint64_t(block_index.y) << 31 | uint64_t(block_index.z) << 47;
    order_block();
    memset(shared.address, poison, shared.bytes);
    memset(dynamic, poison, rounded);
    if (const int fault = run_block()) return fault;
    if (machine.suspected && machine.suspected_shared) return confirm_suspicion();
    for (size_t byte = 0; byte < canary_bytes; ++byte) {
      if (dynamic[rounded + byte] == canary) continue;
      snprintf(launch.message, sizeof launch.message, "byte %zu of dynamic shared memory was written; the launch gave %llu bytes",
               rounded + byte, (unsigned long long)launch.shared_bytes);
      memcpy(launch.fault_block, &block_index, sizeof launch.fault_block);
      return fault_shared;
    }
  }
  return machine.suspected ? confirm_suspicion() : fault_none;
}

int run(Launch* launch, void (*call)(void**), void** arguments, unsigned bound) {
  if (const int fault = check(*launch, bound)) return fault;
  pthread_mutex_lock(&busy);
  launch->started = 1;
  machine.launch = launch;
  machine.suspected = false;
  machine.call = call;
  machine.arguments = arguments;
  block_extent = dim3(launch->block[0], launch->block[1], launch->block[2]);
  grid_extent = dim3(launch->grid[0], launch->grid[1], launch->grid[2]);
  machine.packed_block_extent = packed_extent(launch->block, 11, 11);
  machine.packed_grid_extent = packed_extent(launch->grid, 31, 16);
  machine.stacks.reset();
  lay_out_threads(*launch);
  // Aligned to 16 and to no more, as a kernel may expect no more.
  auto* memory = static_cast<unsigned char*>(malloc(launch->shared_bytes + canary_bytes + 96));
  dynamic_shared = memory + ((32 - (reinterpret_cast<uintptr_t>(memory) & 31)) & 31) + 16;
  const int fault = run_grid(*launch, dynamic_shared);
  free(memory);
  fflush(stdout);
  pthread_mutex_unlock(&busy);
  return fault;
}

}  // namespace specforge_emulator

/// What the library was built to find: `off`, `shadow` or `address`.
extern "C" __attribute__((visibility("default"))) const char* specforge_emulator_sanitize() { return SPECFORGE_SANITIZE; }

/// Gives the stacks back, and what knows of accesses; the next launch maps new ones.
extern "C" __attribute__((visibility("default"))) void specforge_emulator_release() {
  pthread_mutex_lock(&specforge_emulator::busy);
  specforge_emulator::machine.stacks.release();
  specforge_emulator::order_release_memory();
  pthread_mutex_unlock(&specforge_emulator::busy);
}

#endif
