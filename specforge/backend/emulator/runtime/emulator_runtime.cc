// The part of the emulator that knows nothing of any kernel: compiled once, linked into every library.
#define SPECFORGE_RUNTIME 1
#include "emulator_exchange.h"
#include "emulator_launch.h"
#include "emulator_nested.h"
#ifdef SPECFORGE_SHADOW
#include "emulator_callbacks.h"
#include "emulator_undefined.h"
#endif
