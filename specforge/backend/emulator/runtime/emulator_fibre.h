// Fibres: a stack each, and a switch that saves only what the calling convention preserves.
//
// The switch leaves by an indirect jump and not by a return: the processor predicts returns from the calls it saw last, and
// those are another fibre's.
#ifndef SPECFORGE_EMULATOR_FIBRE_H
#define SPECFORGE_EMULATOR_FIBRE_H

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emulator_machine.h"

extern "C" __attribute__((visibility("hidden"))) void specforge_emulator_switch(void** save, void* resume);

namespace specforge_emulator {

constexpr size_t canary_bytes = 256;  // behind dynamic shared memory
constexpr size_t stack_bytes = size_t(128) << 10;
constexpr unsigned stacks_per_chunk = 32;
constexpr unsigned maximum_stacks = maximum_threads + stacks_per_chunk;  // one more than threads, rounded up to a chunk

#ifdef SPECFORGE_ADDRESS
/// Where the compiler notes which of the eight bytes at an address may be touched.
inline unsigned char* stack_map(uintptr_t address) { return reinterpret_cast<unsigned char*>((address >> 3) + 0x7fff8000); }

/// Gives stacks their part of that map.
inline bool map_stacks(unsigned char* base, size_t bytes, size_t page) {
  const auto start = reinterpret_cast<uintptr_t>(stack_map(reinterpret_cast<uintptr_t>(base))) & ~(page - 1);
  const auto end = reinterpret_cast<uintptr_t>(stack_map(reinterpret_cast<uintptr_t>(base + bytes)));
  for (uintptr_t at = start; at < end; at += page) {
    void* const wanted = reinterpret_cast<void*>(at);
    void* const got = mmap(wanted, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != wanted && (got != MAP_FAILED || errno != EEXIST)) return false;  // a page that is there is another stack's
  }
  memset(stack_map(reinterpret_cast<uintptr_t>(base)), 0, bytes / 8);
  return true;
}
#else
inline bool map_stacks(unsigned char*, size_t, size_t) { return true; }
#endif

/// Stacks with a guard page below each, mapped when first needed and kept between launches.
struct Stacks {
  unsigned char* chunks[maximum_stacks / stacks_per_chunk];
  unsigned chunk_count;
  unsigned char* free_tops[maximum_stacks];
  unsigned free_count;
  size_t page, chunk_bytes;

  bool grow() {
    page = size_t(sysconf(_SC_PAGESIZE));
    const size_t pitch = stack_bytes + page;
    chunk_bytes = pitch * stacks_per_chunk;
    if (chunk_count == maximum_stacks / stacks_per_chunk) return false;
    void* memory = mmap(nullptr, chunk_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    auto* base = static_cast<unsigned char*>(memory);
    if (!map_stacks(base, chunk_bytes, page)) return false;
    for (unsigned i = 0; i < stacks_per_chunk; ++i) {
      if (mprotect(base + i * pitch, page, PROT_NONE) != 0) {
        munmap(memory, chunk_bytes);
        return false;
      }
    }
    chunks[chunk_count++] = base;
    offer(base);
    return true;
  }

  /// Tops are staggered by three cache lines: stacks a power of two apart would all fight for the same cache sets.
  void offer(unsigned char* base) {
    const size_t pitch = stack_bytes + page;
    for (unsigned i = stacks_per_chunk; i-- > 0;) free_tops[free_count++] = base + (i + 1) * pitch - (i * 192) % 4096;
  }

  unsigned char* take() { return free_count == 0 && !grow() ? nullptr : free_tops[--free_count]; }
  void give(unsigned char* top) { free_tops[free_count++] = top; }

  /// After a fault the fibres are abandoned where they stand, and every stack is free again.
  void reset() {
    free_count = 0;
    for (unsigned i = chunk_count; i-- > 0;) {
      offer(chunks[i]);
      map_stacks(chunks[i], chunk_bytes, page);
    }
  }

  void release() {
    for (unsigned i = 0; i < chunk_count; ++i) munmap(chunks[i], chunk_bytes);
    chunk_count = free_count = 0;
  }
};

#if defined(SPECFORGE_EMULATOR_UCONTEXT) || !(defined(__x86_64__) || defined(__aarch64__))
#define SPECFORGE_EMULATOR_PORTABLE_SWITCH 1
#endif

}  // namespace specforge_emulator

#ifdef SPECFORGE_EMULATOR_PORTABLE_SWITCH
#include <ucontext.h>
#endif

namespace specforge_emulator {

/// A context that enters `entry` on a fresh stack when switched to. `entry` must never return.
inline void* prepare(unsigned char* top, void (*entry)()) {
#if defined(SPECFORGE_EMULATOR_PORTABLE_SWITCH)
  auto* context = reinterpret_cast<ucontext_t*>(top - ((sizeof(ucontext_t) + 63) & ~size_t(63)));
  getcontext(context);
  context->uc_stack.ss_sp = top - stack_bytes + 8192;  // staggered tops stay above the guard page
  context->uc_stack.ss_size = size_t(reinterpret_cast<unsigned char*>(context) - static_cast<unsigned char*>(context->uc_stack.ss_sp));
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
#elif defined(__x86_64__)
  auto* words = reinterpret_cast<uint64_t*>(top) - 8;  // six registers, the address to go to, a null return address
  memset(words, 0, 64);
  words[6] = reinterpret_cast<uint64_t>(entry);
  return words;
#else
  auto* words = reinterpret_cast<uint64_t*>(top) - 20;  // x29, x30, x19..x28, d8..d15
  memset(words, 0, 160);
  words[1] = reinterpret_cast<uint64_t>(entry);
  return words;
#endif
}

}  // namespace specforge_emulator

#if defined(SPECFORGE_EMULATOR_PORTABLE_SWITCH)

extern "C" void specforge_emulator_switch(void** save, void* resume) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(resume));
}

#elif defined(__x86_64__)

asm(R"(
    .text
    .p2align 4
    .globl specforge_emulator_switch
    .hidden specforge_emulator_switch
    .type specforge_emulator_switch, @function
specforge_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmp *%rcx
    .size specforge_emulator_switch, .-specforge_emulator_switch
)");

#else

asm(R"(
    .text
    .p2align 4
    .globl specforge_emulator_switch
    .hidden specforge_emulator_switch
    .type specforge_emulator_switch, @function
specforge_emulator_switch:
    stp x29, x30, [sp, #-160]!
    stp x19, x20, [sp, #16]
    stp x21, x22, [sp, #32]
    stp x23, x24, [sp, #48]
    stp x25, x26, [sp, #64]
    stp x27, x28, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #16]
    ldp x21, x22, [sp, #32]
    ldp x23, x24, [sp, #48]
    ldp x25, x26, [sp, #64]
    ldp x27, x28, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    ldp x29, x30, [sp], #160
    br x30
    .size specforge_emulator_switch, .-specforge_emulator_switch
)");

#endif

#endif
