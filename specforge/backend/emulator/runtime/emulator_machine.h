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
enum Fault : int { fault_none, fault_launch, fault_deadlock, fault_shuffle, fault_barrier, fault_trap, fault_assert, fault_shared };

/// What a thread waits for. The order is that of `operation_names`.
enum Operation : unsigned char {
  op_none, op_barrier, op_barrier_or, op_barrier_and, op_barrier_count,
  op_syncwarp, op_shuffle, op_shuffle_up, op_shuffle_down, op_shuffle_xor, op_ballot, op_any, op_all, op_match_any, op_match_all,
  op_add, op_min_signed, op_min_unsigned, op_max_signed, op_max_unsigned, op_and, op_or, op_xor,
  op_multiply_half, op_multiply_bfloat16, op_transpose,
};

struct Site {
  const char* file;
  int line;
};

struct Warp;

struct alignas(64) Thread {
  void* context;         // where to resume, while suspended
  unsigned char* stack;  // the stack it runs on, once started
  Warp* warp;
  uint3 index;
  unsigned lane, slot, flat;  // lane in the warp, place in the warp's running order, linear thread number
  Operation waits;
  unsigned mask;
  Site site;
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

/// What the Python side passes in and reads back.
struct Launch {
  unsigned grid[3], block[3];
  uint64_t shared_bytes, schedule;
  unsigned fault_block[3], fault_thread[3];
  char message[4096];
};

#pragma GCC visibility push(hidden)

extern Thread* running;
extern uint3 block_index;
extern dim3 block_extent, grid_extent;
extern unsigned char* dynamic_shared;
extern unsigned barrier_result;

/// Ends the launch with a message: every fibre is abandoned where it stands.
[[noreturn]] void raise(Fault fault, const char* format, ...) __attribute__((cold, format(printf, 2, 3)));

/// Lets the other threads run first: for loops that wait for memory to change.
void yield();

/// __syncthreads and its reducing forms, which leave their value in `barrier_result`. Threads that have exited are not waited for.
void block_barrier(Operation operation, unsigned predicate, const char* file, int line);

/// Arrives at a warp operation; returns when every lane of the mask has, with the lane's result in its warp.
void arrive(Thread* self, Operation operation, unsigned mask, unsigned size, const char* file, int line);

[[noreturn]] void raise_bad_width(Operation operation, int width, const char* file, int line) __attribute__((cold));

/// Runs a whole grid; the fault, or fault_none. `bound` is the entry's launch bounds, 0 for none.
int run(Launch* launch, void (*call)(void**), void** arguments, unsigned bound);

#pragma GCC visibility pop

}  // namespace specforge_emulator

#endif
