// One entry, run_NAME, per device function: item i takes IN words of x and leaves OUT words in y, one thread an item.
#include "ahead.cuh"
#include "bits.cuh"
#include "convert.cuh"
#include "dot.cuh"
#include "gguf.cuh"
#include "packed.cuh"
#include "prefetch.cuh"
#include "stream.cuh"

#define ENTRY(NAME, IN, OUT, ...)                                                                \
  extern "C" __global__ void run_##NAME(const unsigned* x, unsigned* y, int n) {                       \
    const int item = blockIdx.x * blockDim.x + threadIdx.x;                                      \
    if (item >= n) return;                                                                       \
    const unsigned* const in = x + (size_t)item * IN;                                            \
    unsigned* const out = y + (size_t)item * OUT;                                                \
    __VA_ARGS__                                                                                  \
  }

__device__ __forceinline__ float real(unsigned bits) { return __uint_as_float(bits); }
__device__ __forceinline__ void put(unsigned* out, float2 x) { out[0] = __float_as_uint(x.x), out[1] = __float_as_uint(x.y); }
__device__ __forceinline__ void put(unsigned* out, float4 x) { put(out, make_float2(x.x, x.y)), put(out + 2, make_float2(x.z, x.w)); }
__device__ __forceinline__ float2 pair(const unsigned* in) { return make_float2(real(in[0]), real(in[1])); }
template <typename T, int count>
__device__ __forceinline__ void put(unsigned* out, const T (&pairs)[count]) {
  memcpy(out, pairs, sizeof(pairs));
}

ENTRY(dp4a_s8s8, 3, 1, out[0] = unsigned(dp4a_s8s8(in[0], in[1], int(in[2])));)
ENTRY(dp4a_u8u8, 3, 1, out[0] = dp4a_u8u8(in[0], in[1], in[2]);)
ENTRY(dp4a_s8u8, 3, 1, out[0] = unsigned(dp4a_s8u8(in[0], in[1], int(in[2])));)
ENTRY(dp4a_u8s8, 3, 1, out[0] = unsigned(dp4a_u8s8(in[0], in[1], int(in[2])));)
ENTRY(byte_perm, 3, 1, out[0] = __byte_perm(in[0], in[1], in[2]);)
ENTRY(prmt, 3, 1, out[0] = prmt(in[0], in[1], in[2]);)
ENTRY(lop3_and_or, 3, 1, out[0] = lop3<0xea>(in[0], in[1], in[2]);)
ENTRY(lop3_majority, 3, 1, out[0] = lop3<0xe8>(in[0], in[1], in[2]);)
ENTRY(lop3_xor, 3, 1, out[0] = lop3<0x96>(in[0], in[1], in[2]);)
ENTRY(lop3_select, 3, 1, out[0] = lop3<0xca>(in[0], in[1], in[2]);)

ENTRY(pack_bf16, 2, 1, out[0] = pack_bf16(real(in[0]), real(in[1]));)
ENTRY(pack_f16, 2, 1, out[0] = pack_f16(real(in[0]), real(in[1]));)
ENTRY(unpack_bf16, 1, 2, put(out, unpack_bf16(in[0]));)
ENTRY(unpack_f16, 1, 2, put(out, unpack_f16(in[0]));)
ENTRY(unpack_half, 1, 1, out[0] = __float_as_uint(unpack_half((unsigned short)in[0]));)
ENTRY(unpack_u8, 1, 4, put(out, unpack_u8(in[0]));)
ENTRY(unpack_s8, 1, 4, put(out, unpack_s8(in[0]));)
ENTRY(unpack_u8_f16, 1, 2, __half2 pairs[2]; unpack_u8(in[0], pairs); put(out, pairs);)
ENTRY(unpack_s8_f16, 1, 2, __half2 pairs[2]; unpack_s8(in[0], pairs); put(out, pairs);)
ENTRY(unpack_u4_f16, 1, 4, __half2 pairs[4]; unpack_u4(in[0], pairs); put(out, pairs);)
ENTRY(unpack_u4_bf16, 1, 4, __nv_bfloat162 pairs[4]; unpack_u4(in[0], pairs); put(out, pairs);)
ENTRY(round_s8, 1, 1, out[0] = unsigned(round_s8(real(in[0])));)
ENTRY(pack_s8, 4, 1, out[0] = pack_s8(make_float4(real(in[0]), real(in[1]), real(in[2]), real(in[3])));)

ENTRY(fma_f32x2, 6, 2, put(out, fma_f32x2(pair(in), pair(in + 2), pair(in + 4)));)
ENTRY(add_f32x2, 4, 2, put(out, add_f32x2(pair(in), pair(in + 2)));)
ENTRY(mul_f32x2, 4, 2, put(out, mul_f32x2(pair(in), pair(in + 2)));)

ENTRY(load_even, 2, 1, out[0] = load_even(reinterpret_cast<const unsigned short*>(in) + 1);)
ENTRY(q4k_scales, 3, 4, const unsigned packed[3] = {in[0], in[1], in[2]}; unsigned scales[2]; unsigned mins[2];
      q4k_scales(packed, scales, mins); out[0] = scales[0]; out[1] = scales[1]; out[2] = mins[0]; out[3] = mins[1];)
ENTRY(q6k_values, 3, 4, for (int part = 0; part < 4; ++part) out[part] = q6k_values(in[part % 2], in[2], part);)

ENTRY(load_ahead, 4, 7, const uint4 four = load_ahead(reinterpret_cast<const uint4*>(in)); out[0] = load_ahead(in);
      const uint2 two = load_ahead(reinterpret_cast<const uint2*>(in)); out[1] = two.x; out[2] = two.y; put(out + 3, {four.x, four.y, four.z, four.w});)

// Every load and every store of stream.cuh, of 4, 8 and 16 bytes.
ENTRY(stream_words, 1, 6, prefetch_l1(in); prefetch_l2(in); const CachePolicy first = evict_first(); const CachePolicy last = evict_last();
      store_streamed(out, load_streamed(in)); store_under(first, out + 1, load_under(last, in));
      store_streamed(out + 2, load_kept(in)); store_under(last, out + 3, load_under(first, in));
      store_streamed(reinterpret_cast<float*>(out) + 4, load_streamed(reinterpret_cast<const float*>(in)));
      store_streamed(reinterpret_cast<int*>(out) + 5, load_kept(reinterpret_cast<const int*>(in)));)
ENTRY(stream_pairs, 2, 6, const uint2* const from = reinterpret_cast<const uint2*>(in); uint2* const to = reinterpret_cast<uint2*>(out);
      const CachePolicy first = evict_first(); store_streamed(to, load_streamed(from));
      store_under(first, to + 1, load_under(first, from)); store_streamed(to + 2, load_kept(from));)
ENTRY(stream_quads, 4, 16, const uint4* const from = reinterpret_cast<const uint4*>(in); uint4* const to = reinterpret_cast<uint4*>(out);
      const CachePolicy last = evict_last(); prefetch_l2(from, 16u); store_streamed(to, load_streamed(from));
      store_under(last, to + 1, load_under(last, from)); store_streamed(to + 2, load_kept(from)); to[3] = load_once(from);)
