// A grid that starts before the one ahead of it has ended (programmatic dependent launch): `dependent: true` in kernel.yaml.
//
// Until grid_wait() returns, nothing that the launches ahead do has happened or not happened: what they write may not be read,
// what they read may not be written. After it all of it is done and visible. What an earlier launch of the same group left,
// and inputs, may be read before.
//
// A pointer to what a launch ahead writes is not `const T* __restrict__`, nor read by __ldg or ld.global.nc: all of these let the
// compiler, or the card, take the memory for unchanging while the grid runs, and read it before the wait.
//
// From sm_90. Before that grids follow one another and both functions do nothing. The emulator runs a dependent grid first,
// and what it depends on when a thread first waits, or after it if none does.
#ifndef SPECFORGE_DEPENDENT_CUH
#define SPECFORGE_DEPENDENT_CUH

#include "specforge.cuh"

#ifndef SPECFORGE_EMULATOR

// Waits until the grids that this one depends on have ended. Every thread that touches their memory calls it, or is behind a
// barrier behind one that did.
__device__ __forceinline__ void grid_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" : : : "memory");
#endif
}

// Lets the grid that depends on this one start once every block has called it or ended. It promises nothing about memory.
__device__ __forceinline__ void grid_let_next() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" : : : "memory");
#endif
}

#endif

#endif
