// Dot products of GGUF's quantised weights with quantised activations: a quarter of 256 neighbouring elements to a lane.
//
// Share. Whatever the type, the quarter of lane 0 to 3 is four chunks of 16 elements: chunk i is elements 128 (lane / 2) + 32 i
//        + 16 (lane % 2) and the 15 behind. So activations are loaded once for rows of any type, and two neighbouring lanes
//        that load 16 bytes each take 32 whole ones.
// Types. Q4K, Q5K, Q6K and Q80 (eight blocks of 32 in a row) hold a lane's share as it lies in memory: BYTES for 256 elements,
//        at an address that is a multiple of ALIGN. load<From>(bytes, lane) reads it through From::get: `Plainly`, which also
//        serves shared memory, or `Ahead`, for what nothing writes: also ahead of grid_wait() (ahead.cuh).
// Value. d * sum over chunks of (scale of the chunk * (sum of q x - CENTRE * sum of x)) - dmin * sum of (minimum * sum of x),
//        each chunk's sums exact integers, times the activations' scale.
#ifndef SPECFORGE_BLOCKS_CUH
#define SPECFORGE_BLOCKS_CUH

#include "ahead.cuh"
#include "convert.cuh"
#include "dot.cuh"
#include "gguf.cuh"

struct Plainly {
  template <typename W>
  __device__ __forceinline__ static W get(const W* from) {
    return *from;
  }
};
struct Ahead {
  template <typename W>
  __device__ __forceinline__ static W get(const W* from) {
    if constexpr (sizeof(W) < 4)
      return *from;
    else
      return load_ahead(from);
  }
};

// 16 bytes at an even address. Of what lies beside them up to 2 bytes on either side are read: within the same 4-byte words.
template <typename From>
__device__ __forceinline__ uint4 load_16_even(const unsigned char* from) {
  const bool odd = reinterpret_cast<unsigned long long>(from) & 2;  // an odd number of 2 bytes into a word
  const unsigned* const words = reinterpret_cast<const unsigned*>(from - (odd ? 2 : 0));
  unsigned word[5];
#pragma unroll
  for (int i = 0; i < 4; ++i) word[i] = From::get(words + i);
  word[4] = odd ? From::get(words + 4) : 0;
  const unsigned order = odd ? 0x5432 : 0x3210;
  return make_uint4(prmt(word[0], word[1], order), prmt(word[1], word[2], order), prmt(word[2], word[3], order),
                    prmt(word[3], word[4], order));
}

template <typename From>
__device__ __forceinline__ uint4 load_16(const unsigned char* from) {
  return From::get(reinterpret_cast<const uint4*>(from));
}

__device__ __forceinline__ unsigned word_of(const uint4& words, int index) {
  return index == 0 ? words.x : index == 1 ? words.y : index == 2 ? words.z : words.w;
}

// What the chunks of a share are multiplied with: value = d * scale[i] * (q - CENTRE) - dmin * least[i].
struct Scales {
  float d, dmin;
  float4 scale, least;
};

struct Q4K {
  static constexpr int BYTES = 144, ALIGN = 16, CENTRE = 0;
  static constexpr bool MINIMA = true;
  uint4 head, quants[2];  // quants[n]: chunk 2 n in the lower nibbles, 2 n + 1 in the upper ones
  bool upper;             // scales 4 to 7 of the eight

  template <typename From>
  __device__ __forceinline__ void load(const unsigned char* block, int lane) {
    upper = lane / 2;
    head = load_16<From>(block);
    quants[0] = load_16<From>(block + 16 + lane / 2 * 64 + lane % 2 * 16);
    quants[1] = load_16<From>(block + 16 + lane / 2 * 64 + lane % 2 * 16 + 32);
  }
  // Four of a chunk's q, as unsigned bytes.
  __device__ __forceinline__ unsigned four(int chunk, int index) const {
    return word_of(quants[chunk / 2], index) >> chunk % 2 * 4 & 0x0f0f0f0fu;
  }
  __device__ __forceinline__ Scales scales() const {
    const unsigned packed[3] = {head.y, head.z, head.w};
    unsigned scale[2], least[2];
    q4k_scales(packed, scale, least);
    const float2 d = unpack_f16(head.x);
    return {d.x, d.y, unpack_u8(upper ? scale[1] : scale[0]), unpack_u8(upper ? least[1] : least[0])};
  }
};

struct Q5K {
  static constexpr int BYTES = 176, ALIGN = 16, CENTRE = 0;
  static constexpr bool MINIMA = true;
  Q4K low;      // all but the fifth bits
  uint4 fifth;  // bit i of a byte belongs to chunk i

  template <typename From>
  __device__ __forceinline__ void load(const unsigned char* block, int lane) {
    low.upper = lane / 2;
    low.head = load_16<From>(block);
    low.quants[0] = load_16<From>(block + 48 + lane / 2 * 64 + lane % 2 * 16);
    low.quants[1] = load_16<From>(block + 48 + lane / 2 * 64 + lane % 2 * 16 + 32);
    fifth = load_16<From>(block + 16 + lane % 2 * 16);
    const int shift = lane / 2 * 4;
    fifth = make_uint4(fifth.x >> shift, fifth.y >> shift, fifth.z >> shift, fifth.w >> shift);
  }
  __device__ __forceinline__ unsigned four(int chunk, int index) const {
    return low.four(chunk, index) | (word_of(fifth, index) >> chunk & 0x01010101u) << 4;
  }
  __device__ __forceinline__ Scales scales() const { return low.scales(); }
};

struct Q6K {
  static constexpr int BYTES = 210, ALIGN = 2, CENTRE = 32;
  static constexpr bool MINIMA = false;
  uint4 lower[2];  // four bits of chunks 0 and 2, and of 1 and 3
  uint4 upper;     // two bits of each
  unsigned scale;  // a signed byte for each chunk
  unsigned short d;

  template <typename From>
  __device__ __forceinline__ void load(const unsigned char* block, int lane) {
    const int half = lane / 2, part = lane % 2;
    lower[0] = load_16_even<From>(block + 64 * half + 16 * part);
    lower[1] = load_16_even<From>(block + 64 * half + 16 * part + 32);
    upper = load_16_even<From>(block + 128 + 32 * half + 16 * part);
    const unsigned short* const pairs = reinterpret_cast<const unsigned short*>(block + 192 + 8 * half);
    const unsigned first = From::get(pairs) | unsigned(From::get(pairs + 1)) << 16;
    const unsigned second = From::get(pairs + 2) | unsigned(From::get(pairs + 3)) << 16;
    scale = prmt(first, second, part ? 0x7531 : 0x6420);
    d = From::get(reinterpret_cast<const unsigned short*>(block + 208));
  }
  __device__ __forceinline__ unsigned four(int chunk, int index) const {
    return (word_of(lower[chunk % 2], index) >> chunk / 2 * 4 & 0x0f0f0f0fu) | (word_of(upper, index) >> chunk * 2 & 0x03030303u) << 4;
  }
  __device__ __forceinline__ Scales scales() const { return {unpack_half(d), 0.0f, unpack_s8(scale), make_float4(0.0f, 0.0f, 0.0f, 0.0f)}; }
};

struct Q80 {
  static constexpr int BYTES = 272, ALIGN = 2, CENTRE = 128;
  static constexpr bool MINIMA = false;
  uint4 quants[4];
  unsigned short d[4];

  template <typename From>
  __device__ __forceinline__ void load(const unsigned char* blocks, int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const unsigned char* const block = blocks + 34 * (lane / 2 * 4 + i);
      quants[i] = load_16_even<From>(block + 2 + lane % 2 * 16);
      d[i] = From::get(reinterpret_cast<const unsigned short*>(block));
    }
  }
  __device__ __forceinline__ unsigned four(int chunk, int index) const { return word_of(quants[chunk], index) ^ 0x80808080u; }
  __device__ __forceinline__ Scales scales() const {
    return {1.0f, 0.0f, make_float4(unpack_half(d[0]), unpack_half(d[1]), unpack_half(d[2]), unpack_half(d[3])),
            make_float4(0.0f, 0.0f, 0.0f, 0.0f)};
  }
};

// A lane's share of activations. Value = scale * x, where x is one signed byte, or with two planes 256 * the first + the second.
template <int PLANES>
struct Activations {
  uint4 bytes[PLANES][4];
  float scale[4];
  int sum[4];           // of a chunk's x
  float scaled_sum[4];  // times its scale
};

// The share's part of the dot product of a row.
template <typename Weights, int PLANES>
__device__ __forceinline__ float dot_of(const Weights& weights, const Activations<PLANES>& x) {
  const Scales scales = weights.scales();
  const float scale[4] = {scales.scale.x, scales.scale.y, scales.scale.z, scales.scale.w};
  const float least[4] = {scales.least.x, scales.least.y, scales.least.z, scales.least.w};
  float products = 0.0f, minima = 0.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    int sums[PLANES] = {};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const unsigned four = weights.four(i, j);
#pragma unroll
      for (int plane = 0; plane < PLANES; ++plane) sums[plane] = dp4a_u8s8(four, word_of(x.bytes[plane][i], j), sums[plane]);
    }
    int sum = sums[0];
#pragma unroll
    for (int plane = 1; plane < PLANES; ++plane) sum = sum * 256 + sums[plane];
    if (Weights::CENTRE) sum -= Weights::CENTRE * x.sum[i];
    products = fmaf(scale[i] * x.scale[i], float(sum), products);
    if (Weights::MINIMA) minima = fmaf(least[i], x.scaled_sum[i], minima);
  }
  return Weights::MINIMA ? scales.d * products - scales.dmin * minima : scales.d * products;
}

#endif
