// Words that the blocks of a cluster send each other, straight into shared memory: nobody fences, and who waits waits for the
// words alone. Some 200 ns, where a count in global memory and reading back take most of a microsecond.
//
// From sm_90, an entry marked __cluster_dims__. Before that, and in the emulator, which runs blocks one after another, CLUSTERS
// is false, the mark means nothing and a Mailbox traps: a template has another way there (last_block.cuh), and that way, not this
// one, is what the emulator judges. Only a card sees this exchange.
#ifndef SPECFORGE_CLUSTER_CUH
#define SPECFORGE_CLUSTER_CUH

#include "specforge.cuh"

#if defined(SPECFORGE_EMULATOR) || __CUDA_ARCH__ < 900

constexpr bool CLUSTERS = false;
#undef __cluster_dims__
#define __cluster_dims__(...)

template <int COUNT>
struct alignas(16) Mailbox {
  float words[COUNT];
  __device__ __forceinline__ void open(bool) { __trap(); }
  __device__ __forceinline__ void opened() { __trap(); }
  __device__ __forceinline__ void send(unsigned, int, float) { __trap(); }
  __device__ __forceinline__ void wait() { __trap(); }
};

#else

constexpr bool CLUSTERS = true;

// In shared memory, once in a launch: takes COUNT words, each of them sent once by some block of the cluster.
template <int COUNT>
struct alignas(16) Mailbox {
  float words[COUNT];
  unsigned long long barrier;

  // First of all: every thread of the block, one of them `alone`.
  __device__ __forceinline__ void open(bool alone) {
    if (alone) {
      const unsigned own = unsigned(__cvta_generic_to_shared(&barrier));
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" : : "r"(own) : "memory");
      asm volatile("fence.mbarrier_init.release.cluster;" : : : "memory");
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" : : "r"(own), "r"(4 * COUNT) : "memory");
    }
    __syncwarp();
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" : : : "memory");
  }

  // Until all blocks' boxes are open: every thread of the block, before it sends.
  __device__ __forceinline__ void opened() { asm volatile("barrier.cluster.wait.acquire.aligned;" : : : "memory"); }

  // To words[index] of the cluster's block `rank`. Nothing else that the sender wrote goes with it.
  __device__ __forceinline__ void send(unsigned rank, int index, float word) {
    unsigned to, its_barrier;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(to) : "r"(unsigned(__cvta_generic_to_shared(words + index))), "r"(rank));
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(its_barrier) : "r"(unsigned(__cvta_generic_to_shared(&barrier))), "r"(rank));
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];"
                 : : "r"(to), "r"(__float_as_uint(word)), "r"(its_barrier) : "memory");
  }

  // Until all words have come: whoever reads them. Some thread of every block waits, or the block would end before others have
  // written into it.
  __device__ __forceinline__ void wait() {
    unsigned done;
    do {
      asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], 0;\nselp.u32 %0, 1, 0, p;\n}"
                   : "=r"(done) : "r"(unsigned(__cvta_generic_to_shared(&barrier))) : "memory");
    } while (!done);
  }
};

#endif

#endif
