// Device functions used wrongly, each beside its right twin where another file has none.
#include "async.cuh"
#include "barrier.cuh"
#include "dependent.cuh"

#define COPY_THEN(NAME, ...)                                                             \
  extern "C" __global__ void NAME(const unsigned* x, unsigned* y) {                      \
    __shared__ __align__(16) unsigned words[32][4];                                      \
    const unsigned i = threadIdx.x;                                                      \
    (void)words, (void)i;                                                                \
    __VA_ARGS__                                                                          \
  }
#define TAKE y[i] = words[i][i % 4];

COPY_THEN(waited, cp_async<16>(words[i], x + i * 4); cp_async_commit(); cp_async_wait<0>(); TAKE)
COPY_THEN(never_waited, cp_async<16>(words[i], x + i * 4); cp_async_commit(); TAKE)
COPY_THEN(one_group_early, cp_async<16>(words[i], x + i * 4); cp_async_commit(); cp_async_wait<1>(); TAKE)
COPY_THEN(not_closed, cp_async<16>(words[i], x + i * 4); cp_async_wait<0>(); TAKE)
COPY_THEN(wait_but_no_barrier, cp_async<16>(words[i], x + i * 4); cp_async_wait_all(); y[i] = words[31 - i][0];)
COPY_THEN(barrier_but_no_wait, cp_async<16>(words[i], x + i * 4); __syncthreads(); y[i] = words[31 - i][0];)
COPY_THEN(odd_source, cp_async<8>(words[i], x + i * 4 + 1); cp_async_wait_all(); TAKE)
COPY_THEN(odd_destination, cp_async<16>(&words[i][2], x + i * 4); cp_async_wait_all(); TAKE)
COPY_THEN(to_global, cp_async<4>(y + i, x + i); cp_async_wait_all();)
COPY_THEN(from_shared, words[i][0] = x[i]; cp_async<4>(&words[i][1], &words[i][0]); cp_async_wait_all(); TAKE)
COPY_THEN(overfilled, cp_async<4>(words[i], x + i, 8); cp_async_wait_all(); TAKE)

// Two stages, refilled one step too early: while others may still read what is replaced.
extern "C" __global__ void refilled_early(const unsigned* x, unsigned* y) {
  __shared__ unsigned ring[2][64];
  const unsigned i = threadIdx.x;
  cp_async<4>(&ring[0][i], x + i);
  cp_async_commit();
  for (int step = 0; step < 4; ++step) {
    cp_async_wait<0>();
    __syncthreads();
    if (step + 1 < 4) cp_async<4>(&ring[step % 2][i], x + (step + 1) * 64 + i);
    cp_async_commit();
    y[step * 64 + i] = ring[step % 2][63 - i];
  }
}

extern "C" __global__ void nobody_arrives(const unsigned* x, unsigned* y) {
  if (threadIdx.x < 32) barrier_sync(5, 64);
}
extern "C" __global__ void different_counts(const unsigned* x, unsigned* y) { barrier_sync(5, threadIdx.x < 32 ? 64 : 96); }
extern "C" __global__ void different_in_a_warp(const unsigned* x, unsigned* y) { barrier_sync(threadIdx.x % 2 + 1, 64); }
extern "C" __global__ void odd_count(const unsigned* x, unsigned* y) { barrier_sync(5, 40); }
extern "C" __global__ void barrier_zero(const unsigned* x, unsigned* y) { barrier_sync(0, 64); }
extern "C" __global__ void arrives_twice(const unsigned* x, unsigned* y) {
  if (threadIdx.x < 32) barrier_arrive(5, 64), barrier_arrive(5, 64);
}
extern "C" __global__ void half_a_warp(const unsigned* x, unsigned* y) {
  if (threadIdx.x % 32 < 16) barrier_sync(5, 64);
}
// The consumer takes what the producer has not announced.
extern "C" __global__ void wrong_barrier(const unsigned* x, unsigned* y) {
  __shared__ unsigned words[32];
  if (threadIdx.x < 32) {
    barrier_arrive(1, 64);
    words[threadIdx.x] = x[threadIdx.x];
    barrier_arrive(2, 64);
  } else {
    barrier_sync(1, 64);
    y[threadIdx.x - 32] = words[63 - threadIdx.x];
    barrier_sync(2, 64);
  }
}
