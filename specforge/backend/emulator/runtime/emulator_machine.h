// What a kernel sees of the emulator: its thread, its warp, and the calls that may leave it for another thread. Their
// definitions are compiled once and linked, so the compiler of a kernel takes each for an unknown function that may change all
// memory, and nothing that another thread could change stays in a register across it.
#ifndef SPECFORGE_EMULATOR_MACHINE_H
#define SPECFORGE_EMULATOR_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include <vector_types.h>

namespace specforge_emulator {

constexpr unsigned maximum_threads = 1024;
constexpr unsigned lanes = 32;
constexpr unsigned everyone = 0xffffffffu;

/// Kinds of fault: the exit status of a launch, known to the Python side by number.
enum Fault : int {
  fault_none, fault_launch, fault_deadlock, fault_shuffle, fault_barrier, fault_trap, fault_assert, fault_shared,
  fault_bounds, fault_read_only, fault_uninitialised, fault_race, fault_alignment, fault_overflow,
};

/// What a thread waits for. The order is that of `operation_names`.
enum Operation : unsigned char {
  op_none, op_barrier, op_barrier_or, op_barrier_and, op_barrier_count,
  op_syncwarp, op_shuffle, op_shuffle_up, op_shuffle_down, op_shuffle_xor, op_ballot, op_any, op_all, op_match_any, op_match_all,
  op_add, op_min_signed, op_min_unsigned, op_max_signed, op_max_unsigned, op_and, op_or, op_xor,
  op_multiply_half, op_multiply_bfloat16, op_transpose,
  op_multiply_s8s8, op_multiply_s8u8, op_multiply_u8s8, op_multiply_u8u8, op_ldmatrix, op_ldmatrix_transposed,
  op_named_sync, op_named_arrive, op_named_barrier,
};

struct Site {
  const char* file;
  int line;
};

struct Warp;
struct Copies;

struct alignas(64) Thread {
  void* context;         // where to resume, while suspended
  unsigned char* stack;  // the stack it runs on, once started
  Warp* warp;
  uint3 index;
  uint64_t packed;   // the index, see packed_thread
  uint32_t ordered;  // the first phase that it has not seen the end of, for what other blocks did
  unsigned lane, slot, flat;  // lane in the warp, place in the warp's running order, linear thread number
  Operation waits;
  unsigned mask;
  Site site;
  Copies* copies;  // that it has not waited for; null: none yet
};

/// Lanes that wait together for the rest of a mask.
struct Group {
  unsigned mask, expected, arrived;
  Operation operation;
  unsigned char size;
};

struct alignas(64) Warp {
  Thread* threads;  // lanes in running order
  unsigned number, place, exists, exited;
  unsigned ready, started, barrier;  // by slot
  int barrier_line;
  unsigned group_count;
  Group groups[lanes];
  uint64_t value[lanes], result[lanes];  // by lane
  unsigned char source[lanes], slot_of[lanes];
};

/// What the Python side passes in and reads back. In the message \001 and \002 stand for the lines of `places`, \003 for the
/// variable of the library that holds `variable`.
struct Launch {
  unsigned grid[3], block[3];
  uint64_t shared_bytes, schedule;
  unsigned dependent;  // 1: threads start without having seen what the launch before this one did
  unsigned fault_block[3], fault_thread[3];
  uint32_t places[2];  // return addresses in the library, from its start
  uint64_t variable;  // from the library's start
  char message[4096];
  // Of a dependent launch: the one before it, for when a thread waits for that and it has not been started. `fault_depth`
  // says in how many launches before this one the fault was.
  Launch* before;
  int (*run_before)(Launch*, void**);
  void** arguments_before;
  unsigned started, fault_depth;
};

#pragma GCC visibility push(hidden)

extern Thread* running;
extern uint3 block_index;
extern dim3 block_extent, grid_extent;
extern unsigned char* dynamic_shared;
extern unsigned barrier_result;

// A thread never becomes another while a kernel's function runs, so the compiler may keep these.
__attribute__((const)) uint64_t packed_thread();        // 10, 10 and 6 bits
__attribute__((const)) uint64_t packed_block_extent();  // 11, 11 and 7
__attribute__((const)) uint64_t packed_block();         // 31, 16 and 16
__attribute__((const)) uint64_t packed_grid_extent();
__attribute__((const)) unsigned lane_number();
__attribute__((const)) unsigned char* dynamic_shared_memory();

/// Ends the launch with a message: every fibre is abandoned where it stands.
[[noreturn]] void raise(Fault fault, const char* format, ...) __attribute__((cold, format(printf, 2, 3)));

/// Lets the other threads run first: for loops that wait for memory to change.
void yield();

/// Counts calls, so that a loop waiting for time to pass ends. It says nothing about time.
long long tick();

/// __syncthreads and its reducing forms, which leave their value in `barrier_result`. Threads that have exited are not waited for.
void block_barrier(Operation operation, unsigned predicate, const char* file, int line);

/// Arrives at a warp operation; returns when every lane of the mask has, with the lane's result in its warp.
void arrive(Thread* self, Operation operation, unsigned mask, unsigned size, const char* file, int line);

[[noreturn]] void raise_bad_width(Operation operation, int width, const char* file, int line) __attribute__((cold));

/// Runs a whole grid; the fault, or fault_none. `bound` is the entry's launch bounds, 0 for none.
int run(Launch* launch, void (*call)(void**), void** arguments, unsigned bound);

#pragma GCC visibility pop

}  // namespace specforge_emulator

#include "emulator_shadow.h"

#endif
