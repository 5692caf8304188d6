// The part of the emulator that knows nothing of any kernel: compiled once, linked into every library.
#include "emulator_launch.h"
