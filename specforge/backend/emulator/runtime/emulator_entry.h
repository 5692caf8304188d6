// Included after the kernels: one exported function per entry, from an array of pointers to arguments to a call.
#ifndef SPECFORGE_EMULATOR_ENTRY_H
#define SPECFORGE_EMULATOR_ENTRY_H

#include "specforge_emulator.h"

namespace specforge_emulator {

// A letter and a size per parameter: p pointer, i integer, f floating point, x anything else.
template <typename T>
constexpr char kind_of = std::is_pointer<T>::value ? 'p' : std::is_integral<T>::value ? 'i' : std::is_floating_point<T>::value ? 'f' : 'x';

template <auto kernel>
struct Entry;

template <typename... Parameters, void (*kernel)(Parameters...)>
struct Entry<kernel> {
  static constexpr unsigned count = sizeof...(Parameters);
  static constexpr char signature[2 * count + 1] = {kind_of<Parameters>..., char('0' + (sizeof(Parameters) < 64 ? sizeof(Parameters) : 64))..., 0};

  // Not instrumented: arguments lie in the caller's memory, not in the kernel's.
  template <size_t... i>
  __attribute__((no_sanitize("thread"), no_sanitize("address"), no_sanitize("undefined"))) static void call_with(void** arguments, std::index_sequence<i...>) {
    kernel(*static_cast<std::remove_cv_t<Parameters>*>(arguments[i])...);
  }
  __attribute__((no_sanitize("thread"), no_sanitize("address"), no_sanitize("undefined"))) static void call(void** arguments) { call_with(arguments, std::index_sequence_for<Parameters...>()); }
};

}  // namespace specforge_emulator

/// `bound`: the entry's launch bounds, 0 for none.
#define SPECFORGE_EMULATOR_ENTRY(name, bound)                                                                                  \
  extern "C" __attribute__((visibility("default"))) int specforge_emulator_run_##name(specforge_emulator::Launch* launch, void** arguments) {          \
    return specforge_emulator::run(launch, specforge_emulator::Entry<&name>::call, arguments, unsigned(bound));                \
  }                                                                                                                            \
  extern "C" __attribute__((visibility("default"))) const char* specforge_emulator_signature_##name() { return specforge_emulator::Entry<&name>::signature; }

#endif
