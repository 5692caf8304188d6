// The sanitizer as the rest of the runtime sees it. A sanitized kernel is compiled with the instrumentation of
// ThreadSanitizer and UndefinedBehaviorSanitizer, and what that calls is the runtime's own: emulator_callbacks.h checks each
// access against the buffers, the shared memory and what other threads did; emulator_undefined.h words the rest.
//
// In such a kernel every access of an inline function is taken for the kernel's. What touches the runtime's own state is
// therefore compiled outside of it: `#if SPECFORGE_OUTSIDE_BODIES`, with SPECFORGE_OUTSIDE for `inline`.
#ifndef SPECFORGE_EMULATOR_SHADOW_H
#define SPECFORGE_EMULATOR_SHADOW_H

#include "emulator_machine.h"

#if defined(SPECFORGE_SHADOW) && !defined(SPECFORGE_RUNTIME)
#define SPECFORGE_OUTSIDE_BODIES 0
#else
#define SPECFORGE_OUTSIDE_BODIES 1
#endif
#ifdef SPECFORGE_SHADOW
#define SPECFORGE_OUTSIDE
#else
#define SPECFORGE_OUTSIDE inline
#endif

namespace specforge_emulator {

#ifdef SPECFORGE_SHADOW

constexpr bool shadowed = true;

#pragma GCC visibility push(hidden)

// An access by the running thread. `pc`: where it returns to in the kernel; null for the caller of the hook.
void shadow_read(const void* address, size_t bytes, const void* pc = nullptr);
void shadow_write(void* address, size_t bytes, const void* pc = nullptr);
void shadow_atomic(void* address, size_t bytes, const void* pc = nullptr);

/// Counts as not written from here on: the destination of a copy that is under way.
void shadow_forget(void* address, size_t bytes);

/// A thread has asked again for what has not changed: lets the others run, and ends the launch where nothing will change.
void shadow_poll(const void* address, unsigned cost, const void* pc);

/// Copies without a check.
void raw_copy(void* to, const void* from, size_t bytes);
void raw_store(void* to, const void* from, size_t bytes);  // and it is a change, if it changes anything

// What one thread of a block has seen of another's doings. A phase ends when the whole block has met at a barrier.
void order_warp(unsigned mask, Warp* warp);
void order_release(unsigned slot);
void order_acquire(unsigned slot);
void order_clear(unsigned slot);
void order_fence();
void order_fence_block();
void order_phase();
void order_launches();

/// Before the running thread may give way to another.
void order_settle();

#pragma GCC visibility pop

#else

constexpr bool shadowed = false;

inline void shadow_read(const void*, size_t, const void* = nullptr) {}
inline void shadow_write(void*, size_t, const void* = nullptr) {}
inline void shadow_atomic(void*, size_t, const void* = nullptr) {}
inline void shadow_forget(void*, size_t) {}
inline void raw_copy(void* to, const void* from, size_t bytes) { __builtin_memcpy(to, from, bytes); }
inline void order_warp(unsigned, Warp*) {}
inline void order_release(unsigned) {}
inline void order_acquire(unsigned) {}
inline void order_clear(unsigned) {}
inline void order_fence() {}
inline void order_fence_block() {}
inline void order_phase() {}
inline void order_launches() {}
inline void order_settle() {}

#endif

}  // namespace specforge_emulator

#endif
