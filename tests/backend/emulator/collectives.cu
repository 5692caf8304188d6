// What warps and blocks do together: one block of threads works on a few words, all of which y receives.
#include "async.cuh"
#include "barrier.cuh"
#include "ldmatrix.cuh"
#include "mma.cuh"
#include "warp.cuh"

// x: a [16][32] bytes, b [32][8] bytes (by columns: [8][32]), d [16][8]; y: d.
template <typename A, typename B>
__device__ void multiply_bytes(const unsigned* x, unsigned* y) {
  const unsigned lane = lane_id(), g = lane / 4, t = lane % 4;
  unsigned a[4], b[2];
  int d[4];
  for (int r = 0; r < 4; ++r) {
    a[r] = x[(g + r % 2 * 8) * 8 + t + r / 2 * 4];
    d[r] = int(x[192 + (g + r / 2 * 8) * 8 + t * 2 + r % 2]);
  }
  for (int r = 0; r < 2; ++r) b[r] = x[128 + g * 8 + t + r * 4];
  mma_m16n8k32<A, B>(d, a, b);
  for (int r = 0; r < 4; ++r) y[(g + r / 2 * 8) * 8 + t * 2 + r % 2] = unsigned(d[r]);
}
extern "C" __global__ void mma_s8s8(const unsigned* x, unsigned* y) { multiply_bytes<signed char, signed char>(x, y); }
extern "C" __global__ void mma_s8u8(const unsigned* x, unsigned* y) { multiply_bytes<signed char, unsigned char>(x, y); }
extern "C" __global__ void mma_u8s8(const unsigned* x, unsigned* y) { multiply_bytes<unsigned char, signed char>(x, y); }
extern "C" __global__ void mma_u8u8(const unsigned* x, unsigned* y) { multiply_bytes<unsigned char, unsigned char>(x, y); }

// x: four 8 x 8 matrices of 16-bit elements; y: every lane's words, of which lanes beyond the matrices' rows give no address.
template <int count, bool transposed>
__device__ void load_matrices(const unsigned* x, unsigned* y) {
  __shared__ __align__(16) unsigned rows[32][4];
  for (int i = 0; i < 4; ++i) rows[threadIdx.x][i] = x[threadIdx.x * 4 + i];
  __syncthreads();
  unsigned words[count];
  ldmatrix<transposed>(words, threadIdx.x < 8 * count ? rows[threadIdx.x] : nullptr);
  for (int i = 0; i < count; ++i) y[threadIdx.x * count + i] = words[i];
}
extern "C" __global__ void ldmatrix_x1(const unsigned* x, unsigned* y) { load_matrices<1, false>(x, y); }
extern "C" __global__ void ldmatrix_x2(const unsigned* x, unsigned* y) { load_matrices<2, false>(x, y); }
extern "C" __global__ void ldmatrix_x4(const unsigned* x, unsigned* y) { load_matrices<4, false>(x, y); }
extern "C" __global__ void ldmatrix_x1_trans(const unsigned* x, unsigned* y) { load_matrices<1, true>(x, y); }
extern "C" __global__ void ldmatrix_x2_trans(const unsigned* x, unsigned* y) { load_matrices<2, true>(x, y); }
extern "C" __global__ void ldmatrix_x4_trans(const unsigned* x, unsigned* y) { load_matrices<4, true>(x, y); }

// x: 128 words; thread i of 32 copies 16, 8 and 4 bytes, of which i % 17, i % 9 and i % 5 are filled; y: [32][7] words.
extern "C" __global__ void copy_filled(const unsigned* x, unsigned* y) {
  __shared__ __align__(16) unsigned wide[32][4];
  __shared__ __align__(8) unsigned middle[32][2];
  __shared__ unsigned narrow[32];
  const unsigned i = threadIdx.x;
  cp_async<16>(wide[i], x + i * 4, i % 17);
  cp_async<8>(middle[i], x + i * 2, i % 9);
  cp_async<4>(&narrow[i], x + i, i % 5);
  cp_async_wait_all();
  __syncthreads();
  const unsigned other = (i + 5) % 32;
  for (int word = 0; word < 4; ++word) y[other * 7 + word] = wide[other][word];
  for (int word = 0; word < 2; ++word) y[other * 7 + 4 + word] = middle[other][word];
  y[other * 7 + 6] = narrow[other];
}

// A ring of three stages, filled two ahead. x: 32 words for each of 8 steps; y: for each the words in reverse.
extern "C" __global__ void pipeline(const unsigned* x, unsigned* y) {
  __shared__ unsigned ring[3][32];
  const unsigned i = threadIdx.x;
  for (int step = 0; step < 2; ++step) {
    cp_async<4>(&ring[step][i], x + step * 32 + i);
    cp_async_commit();
  }
  for (int step = 0; step < 8; ++step) {
    cp_async_wait<1>();
    __syncthreads();
    y[step * 32 + i] = ring[step % 3][31 - i];
    if (step + 2 < 8) cp_async<4>(&ring[(step + 2) % 3][i], x + (step + 2) * 32 + i);
    cp_async_commit();
  }
}

// Warps 0 and 1 produce, warps 2 and 3 consume, through two buffers with a barrier for full and one for empty each.
// x: 64 words for each of 6 steps; y: for each the words of the other warp, plus the step.
extern "C" __global__ void produce_and_consume(const unsigned* x, unsigned* y) {
  __shared__ unsigned buffers[2][64];
  const unsigned i = threadIdx.x % 64;
  if (threadIdx.x < 64) {
    for (unsigned step = 0; step < 6; ++step) {
      if (step >= 2) barrier_sync(3 + step % 2, 128);
      buffers[step % 2][i] = x[step * 64 + i];
      barrier_arrive(1 + step % 2, 128);
    }
  } else {
    for (unsigned step = 0; step < 6; ++step) {
      barrier_sync(1 + step % 2, 128);
      y[step * 64 + i] = buffers[step % 2][63 - i] + step;
      if (step + 2 < 6) barrier_arrive(3 + step % 2, 128);
    }
  }
}

// x: 32 floats; y: for widths 32, 8 and 2 the sum, the maximum, the largest value and its index, the scan.
template <int width>
__device__ void reduce(float x, unsigned* y) {
  float largest = x;
  int index = int(lane_id());
  warp_max_index<width>(largest, index);
  y[0] = __float_as_uint(warp_sum<width>(x));
  y[1] = __float_as_uint(warp_max<width>(x));
  y[2] = __float_as_uint(largest);
  y[3] = unsigned(index);
  y[4] = __float_as_uint(warp_scan<width>(x));
}
extern "C" __global__ void reductions(const unsigned* x, unsigned* y) {
  const float value = __uint_as_float(x[threadIdx.x]);
  reduce<32>(value, y + threadIdx.x * 19);
  reduce<8>(value, y + threadIdx.x * 19 + 5);
  reduce<2>(value, y + threadIdx.x * 19 + 10);
  y[threadIdx.x * 19 + 15] = unsigned(warp_sum(int(x[threadIdx.x])));
  y[threadIdx.x * 19 + 16] = warp_scan<16>(x[threadIdx.x]);
  const float2 both = warp_sum(make_float2(value, -value));
  y[threadIdx.x * 19 + 17] = __float_as_uint(both.x);
  y[threadIdx.x * 19 + 18] = __float_as_uint(both.y);
}
