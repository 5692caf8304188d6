#include "cluster.cuh"

// Four blocks send each other words, 8 to each of the others and to themselves: y [blocks][32], what came, sender by sender. Only
// for a card. Each block lets the others wait, by its rank, for as long as it takes a word to come many times over.
template <bool early>
__device__ __forceinline__ void exchange_words(const unsigned* x, unsigned* y) {
  __shared__ Mailbox<32> box;
  const unsigned rank = blockIdx.x % 4, thread = threadIdx.x;
  if (thread < 32) box.words[thread] = 0.0f;
  __syncthreads();
  box.open(thread == 32);
  box.opened();
  if (thread < 32) {
    for (const long long start = clock64(); clock64() - start < 20000 * (long long)rank;) {
    }
    const unsigned to = thread / 8, index = thread % 8;
    box.send(to, 8 * rank + index, __uint_as_float(x[(4 * blockIdx.x + to) * 8 + index]));
  }
  float came = 0.0f;
  if (early && thread >= 32) came = *(volatile float*)(box.words + (thread - 32));
  box.wait();
  if (!early && thread >= 32) came = box.words[thread - 32];
  if (thread >= 32) y[blockIdx.x * 32 + thread - 32] = __float_as_uint(came);
}
extern "C" __global__ void __cluster_dims__(4, 1, 1) exchange(const unsigned* x, unsigned* y) { exchange_words<false>(x, y); }
// Wrong: reads what may not have come.
extern "C" __global__ void __cluster_dims__(4, 1, 1) reads_too_early(const unsigned* x, unsigned* y) { exchange_words<true>(x, y); }

// What the emulator must not run.
extern "C" __global__ void opens(unsigned*) {
  __shared__ Mailbox<1> box;
  box.open(threadIdx.x == 0);
}
extern "C" __global__ void waits_until_opened(unsigned*) {
  __shared__ Mailbox<1> box;
  box.opened();
}
extern "C" __global__ void sends(unsigned*) {
  __shared__ Mailbox<1> box;
  box.send(0, 0, 1.0f);
}
extern "C" __global__ void waits(unsigned*) {
  __shared__ Mailbox<1> box;
  box.wait();
}
extern "C" __global__ void asks(unsigned* y) { y[0] = CLUSTERS; }
