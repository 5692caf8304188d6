// Rows of a KV cache as operands of matrix products (mma.cuh): what a lane's 16 bytes of a row hold, and in which order.
//
// Keys.    A product takes 16 dimensions of 16 tokens; which ones is free as long as query and keys agree. `keys` makes product
//          i of the 16 bytes that a lane has of tokens g and g + 8; `query` puts 8 elements of the query in the same order.
// Values.  A product takes 16 tokens; `values` makes product i, elements 2 i and 2 i + 1, of 16 bytes of tokens 2t, 2t + 1,
//          2t + 8 and 2t + 9 each.
// Bytes.   An int8 is a bf16 as it stands. Its lower seven bits in the significand of 128 make 128 + them; 128 off, or 256 of a
//          negative one (the byte's own sign bit, put into the exponent of 128, makes that 256), leaves the number: three
//          instructions for two. Bytes 0 and 2 of a word are where a pair's halves begin, and 1 and 3 after a shift: so a
//          product takes elements 0, 2 and 1, 3 of a word.
#ifndef SPECFORGE_FLASH_DECODE_CACHE_CUH
#define SPECFORGE_FLASH_DECODE_CACHE_CUH

#include "specforge.cuh"

__device__ __forceinline__ unsigned word(const uint4& words, int index) {
  return index == 0 ? words.x : index == 1 ? words.y : index == 2 ? words.z : words.w;
}

// 16-bit elements.
struct Halves {
  static constexpr int ELEMENTS = 8;  // of 16 bytes

  __device__ __forceinline__ static uint4 query(const uint4& words) { return words; }

  __device__ __forceinline__ static void keys(unsigned (&a)[4], const uint4& low, const uint4& high, int i) {
    a[0] = word(low, 2 * i);
    a[1] = word(high, 2 * i);
    a[2] = word(low, 2 * i + 1);
    a[3] = word(high, 2 * i + 1);
  }

  template <int VECS>
  __device__ __forceinline__ static void values(unsigned (&a)[4], const uint4 (&rows)[4][VECS], int vec, int i) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const unsigned first = word(rows[r * 2][vec], i), second = word(rows[r * 2 + 1][vec], i);
      a[r * 2] = __byte_perm(first, second, 0x5410);
      a[r * 2 + 1] = __byte_perm(first, second, 0x7632);
    }
  }
};

// Signed bytes, for products of bfloat16.
struct Bytes {
  static constexpr int ELEMENTS = 16;

  // Bytes 0 and 2; what the others hold does not matter.
  __device__ __forceinline__ static unsigned pair(unsigned bytes) {
    const unsigned lifted = (bytes & 0x007f007fu) | 0x43004300u, lift = (bytes & 0x00800080u) | 0x43004300u;
    __nv_bfloat162 from, off;
    memcpy(&from, &lifted, sizeof(from));
    memcpy(&off, &lift, sizeof(off));
    const __nv_bfloat162 both = __hsub2(from, off);
    unsigned bits;
    memcpy(&bits, &both, sizeof(bits));
    return bits;
  }

  __device__ __forceinline__ static uint4 query(const uint4& words) {
    return make_uint4(__byte_perm(words.x, words.y, 0x5410), __byte_perm(words.x, words.y, 0x7632),
                      __byte_perm(words.z, words.w, 0x5410), __byte_perm(words.z, words.w, 0x7632));
  }

  __device__ __forceinline__ static void keys(unsigned (&a)[4], const uint4& low, const uint4& high, int i) {
    a[0] = pair(word(low, i));
    a[1] = pair(word(high, i));
    a[2] = pair(word(low, i) >> 8);
    a[3] = pair(word(high, i) >> 8);
  }

  template <int VECS>
  __device__ __forceinline__ static void values(unsigned (&a)[4], const uint4 (&rows)[4][VECS], int vec, int i) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const unsigned first = word(rows[r * 2][vec], i / 2), second = word(rows[r * 2 + 1][vec], i / 2);
      a[r * 2] = pair(__byte_perm(first, second, i % 2 ? 0x6622 : 0x4400));
      a[r * 2 + 1] = pair(__byte_perm(first, second, i % 2 ? 0x7733 : 0x5511));
    }
  }
};

#endif
