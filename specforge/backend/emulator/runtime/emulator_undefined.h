// What the instrumentation of a sanitized kernel calls where it would do what C++ leaves undefined. The layout of what it
// passes is that of the compilers; places are the template's own, through #line.
#ifndef SPECFORGE_EMULATOR_UNDEFINED_H
#define SPECFORGE_EMULATOR_UNDEFINED_H

#include "emulator_report.h"

namespace specforge_emulator {

struct SourcePlace {
  const char* file;
  uint32_t line, column;
};

struct TypeName {
  uint16_t kind, info;  // kind 0: an integer of 1 << (info >> 1) bits, signed when info is odd
  char name[1];

  bool is_signed() const { return (info & 1) != 0; }
  unsigned bits() const { return 1u << (info >> 1); }
  /// A value as it is passed: itself, or where it is when it does not fit.
  long long value(uintptr_t handle) const {
    if (bits() > 64) return (long long)*reinterpret_cast<const __int128*>(handle);
    const unsigned unused = 64 - bits();
    return is_signed() ? (long long)(handle << unused) >> unused : (long long)handle;
  }
};

struct Mismatch {
  SourcePlace place;
  const TypeName* type;
  unsigned char log_alignment, check;
};
struct Arithmetic {
  SourcePlace place;
  const TypeName* type;
};
struct Shift {
  SourcePlace place;
  const TypeName *left, *right;
};
struct Index {
  SourcePlace place;
  const TypeName *array, *index;
};

[[noreturn]] [[gnu::cold]] static void raise_overflow(const Arithmetic& what, const char* operation, uintptr_t left, uintptr_t right) {
  const TypeName& type = *what.type;
  raise(fault_overflow, "%lld %s %lld does not fit %s (%s:%u)", type.value(left), operation, type.value(right), type.name, what.place.file, what.place.line);
}

}  // namespace specforge_emulator

#define SPECFORGE_UNDEFINED(NAME, ...) extern "C" __attribute__((visibility("hidden"), noreturn)) void __ubsan_handle_##NAME##_abort(__VA_ARGS__)

SPECFORGE_UNDEFINED(type_mismatch_v1, specforge_emulator::Mismatch* what, uintptr_t pointer) {
  static const char* const checks[] = {"loads", "stores", "binds a reference to", "uses a member of", "calls a member of", "constructs"};
  const unsigned long long alignment = 1ull << what->log_alignment;
  using namespace specforge_emulator;
  words.used = 0;
  words.add("%s %s at ", what->check < 6 ? checks[what->check] : "uses", what->type->name);
  if (const Region* region = find_region(pointer); region != nullptr && pointer - region->data < region->bytes) {
    add_where(*region, pointer);
    words.add(", ");
  }
  words.add("an address that is %llu beyond a multiple of %llu (%s:%u)", (unsigned long long)pointer % alignment, alignment, what->place.file, what->place.line);
  raise(fault_alignment, "%s", words.text);
}
SPECFORGE_UNDEFINED(alignment_assumption, specforge_emulator::SourcePlace* place, uintptr_t pointer, uintptr_t alignment, uintptr_t) {
  specforge_emulator::raise(specforge_emulator::fault_alignment, "an address that is %llu beyond a multiple of %llu (%s:%u)",
                            (unsigned long long)(pointer % alignment), (unsigned long long)alignment, place->file, place->line);
}
SPECFORGE_UNDEFINED(add_overflow, specforge_emulator::Arithmetic* what, uintptr_t a, uintptr_t b) { specforge_emulator::raise_overflow(*what, "+", a, b); }
SPECFORGE_UNDEFINED(sub_overflow, specforge_emulator::Arithmetic* what, uintptr_t a, uintptr_t b) { specforge_emulator::raise_overflow(*what, "-", a, b); }
SPECFORGE_UNDEFINED(mul_overflow, specforge_emulator::Arithmetic* what, uintptr_t a, uintptr_t b) { specforge_emulator::raise_overflow(*what, "*", a, b); }
SPECFORGE_UNDEFINED(divrem_overflow, specforge_emulator::Arithmetic* what, uintptr_t a, uintptr_t b) {
  if (what->type->value(b) == 0) specforge_emulator::raise(specforge_emulator::fault_overflow, "division of %lld by zero (%s:%u)", what->type->value(a), what->place.file, what->place.line);
  specforge_emulator::raise_overflow(*what, "/", a, b);
}
SPECFORGE_UNDEFINED(negate_overflow, specforge_emulator::Arithmetic* what, uintptr_t a) {
  specforge_emulator::raise(specforge_emulator::fault_overflow, "-(%lld) does not fit %s (%s:%u)", what->type->value(a), what->type->name, what->place.file, what->place.line);
}
SPECFORGE_UNDEFINED(shift_out_of_bounds, specforge_emulator::Shift* what, uintptr_t left, uintptr_t right) {
  specforge_emulator::raise(specforge_emulator::fault_overflow, "%lld shifted by %lld, in %u bits (%s:%u)", what->left->value(left), what->right->value(right),
                            what->left->bits(), what->place.file, what->place.line);
}
SPECFORGE_UNDEFINED(out_of_bounds, specforge_emulator::Index* what, uintptr_t index) {
  specforge_emulator::raise(specforge_emulator::fault_bounds, "index %lld is out of an array of type %s (%s:%u)", what->index->value(index), what->array->name,
                            what->place.file, what->place.line);
}

#endif
