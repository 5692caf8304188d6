// What is behind async.cuh and the addresses of ldmatrix.cuh: which memory is shared, and the copies that are under way.
#ifndef SPECFORGE_EMULATOR_COPIES_H
#define SPECFORGE_EMULATOR_COPIES_H

#include <stdlib.h>
#include <string.h>

#include "emulator_scheduler.h"

namespace specforge_emulator {

/// A copy that a thread has asked for, in the order of asking.
struct Copy {
  Copy* next;
  void* to;
  const void* from;
  const void* place;  // where the kernel asked for it
  unsigned bytes, filled, group;
};

/// Of one thread; `closed` groups are complete, the next one is open.
struct Copies {
  Copy *first, **end;
  unsigned closed;
};

static bool is_shared(const void* address, size_t bytes) {
  const auto within = [&](const unsigned char* start, size_t size) {
    const size_t offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(start);
    return offset < size && bytes <= size - offset;
  };
  return within(machine.static_shared, machine.static_shared_bytes) || within(dynamic_shared, machine.launch->shared_bytes);
}

void check_row(const void* row, const char* file, int line) {
  const auto address = (unsigned long long)reinterpret_cast<uintptr_t>(row);
  if (!is_shared(row, 16)) raise(fault_bounds, "ldmatrix: lane %u's row lies not in shared memory, at 0x%llx (%s:%d)", running->lane, address, file, line);
  if (address % 16) raise(fault_alignment, "ldmatrix: lane %u's row is %u bytes past a multiple of 16 (%s:%d)", running->lane, unsigned(address % 16), file, line);
}

static void discard_copies(Thread& thread) {
  Copies* const copies = thread.copies;
  if (copies == nullptr) return;
  for (Copy* copy = copies->first; copy != nullptr;) {
    Copy* const next = copy->next;
    free(copy);
    copy = next;
  }
  free(copies);
  thread.copies = nullptr;
}

static Copies& copies_of(Thread& thread) {
  if (thread.copies == nullptr) {
    machine.uses_copies = true;
    thread.copies = static_cast<Copies*>(calloc(1, sizeof(Copies)));
    if (thread.copies == nullptr) abort();
    thread.copies->end = &thread.copies->first;
  }
  return *thread.copies;
}

void copy_async(void* to, const void* from, unsigned bytes, unsigned filled, const char* file, int line) {
  const void* const place = __builtin_return_address(0);
  const auto target = reinterpret_cast<uintptr_t>(to), source = reinterpret_cast<uintptr_t>(from);
  if (filled > bytes) raise(fault_bounds, "cp_async of %u bytes is to fill %u of them (%s:%d)", bytes, filled, file, line);
  if (target % bytes || source % bytes)
    raise(fault_alignment, "cp_async of %u bytes: the %s is %u bytes past a multiple (%s:%d)", bytes, target % bytes ? "destination" : "source",
          unsigned((target % bytes ? target : source) % bytes), file, line);
  if (!is_shared(to, bytes)) raise(fault_bounds, "cp_async writes %u bytes that are not shared memory (%s:%d)", bytes, file, line);
  if (filled && is_shared(from, 1)) raise(fault_bounds, "cp_async reads shared memory; its source is global memory (%s:%d)", file, line);
  if (filled) shadow_read(from, filled, place);
  shadow_write(to, bytes, place);
  memset(to, 0xff, bytes);
  shadow_forget(to, bytes);
  Copies& copies = copies_of(*running);
  auto* copy = static_cast<Copy*>(malloc(sizeof(Copy)));
  if (copy == nullptr) abort();
  *copy = {nullptr, to, from, place, bytes, filled, copies.closed};
  *copies.end = copy;
  copies.end = &copy->next;
}

void commit_copies() { ++copies_of(*running).closed; }

void wait_copies(int pending) {
  if (running->copies == nullptr) return;
  Copies& copies = *running->copies;
  const long long groups = pending < 0 ? (long long)copies.closed + 1 : (long long)copies.closed - pending;  // that must be done
  while (copies.first != nullptr && copies.first->group < groups) {
    Copy* const copy = copies.first;
    memcpy(copy->to, copy->from, copy->filled);
    memset(static_cast<char*>(copy->to) + copy->filled, 0, copy->bytes - copy->filled);
    shadow_write(copy->to, copy->bytes, copy->place);
    copies.first = copy->next;
    if (copies.first == nullptr) copies.end = &copies.first;
    free(copy);
  }
}

}  // namespace specforge_emulator

#endif
