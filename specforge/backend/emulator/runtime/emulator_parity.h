// What the tensor cores compute, to the last bit: selected by SPECFORGE_PARITY, whose value is the compute capability.
//
// A tensor core takes `block` products of an element and what was accumulated so far, all at once. Each product is exact: two
// significands multiplied, two exponents added, not normalised. All are aligned to the largest exponent among them (a zero's
// does not count), cut toward zero to `fraction` bits below it, and added exactly. The sum is cut toward zero to f32; what
// vanishes becomes +0. tests/gpu/test_tensor_cores.py compares this with a card.
#ifndef SPECFORGE_EMULATOR_PARITY_H
#define SPECFORGE_EMULATOR_PARITY_H

#include <math.h>

#include "emulator_matrix.h"

namespace specforge_emulator {

#ifdef SPECFORGE_PARITY

struct TensorCore {
  int block, fraction;
};
#if SPECFORGE_PARITY >= 90
constexpr TensorCore tensor_core{16, 25};  // Hopper and later
#elif SPECFORGE_PARITY >= 80
constexpr TensorCore tensor_core{8, 24};  // Ampere and Ada take eight products, then the other eight
#else
#error "SPECFORGE_PARITY is a compute capability whose tensor cores are known: 80 or more"
#endif

constexpr int no_exponent = -2000;  // a zero's: half of it is still below that of every product
constexpr int least_exponent = -133;  // nothing is aligned lower: the step is then 2^-158

/// Layout of a floating-point type: bits of the fraction and of the exponent.
struct Bfloat16 {
  static constexpr int fraction = 7, exponent = 8;
};
struct Half {
  static constexpr int fraction = 10, exponent = 5;
};
struct Single {
  static constexpr int fraction = 23, exponent = 8;
};

/// value = significand * 2^(exponent - fraction); neither is meaningful for infinities and NaNs.
struct Parts {
  int significand, exponent;
  bool finite;
};

template <typename Format>
inline Parts take_apart(unsigned bits) {
  constexpr unsigned fraction = Format::fraction, highest = (1u << Format::exponent) - 1;
  const unsigned field = bits >> fraction & highest, low = bits & ((1u << fraction) - 1);
  const int significand = int(field ? low | 1u << fraction : low);
  const bool negative = bits >> (fraction + Format::exponent) & 1;
  const int exponent = int(field ? field : 1) - int(highest >> 1);
  return {negative ? -significand : significand, significand ? exponent : no_exponent, field != highest};
}

/// sum * 2^exponent, cut to f32 toward zero; infinite from 2^128 on. What vanishes loses its sign.
inline float cut(int64_t sum, int exponent) {
  uint64_t scale_bits = uint64_t(exponent + 1023) << 52;
  double scale;
  memcpy(&scale, &scale_bits, sizeof scale);
  const double exact = double(sum) * scale;  // below 2^33 times a power of two
  if (fabs(exact) >= 0x1p128) return exact > 0 ? INFINITY : -INFINITY;
  float near = float(exact);
  if (fabs(double(near)) > fabs(exact)) {
    unsigned bits;
    memcpy(&bits, &near, sizeof bits);
    --bits;
    memcpy(&near, &bits, sizeof near);
  }
  return near == 0.0f ? 0.0f : near;
}

/// An element with an infinity or a NaN among its operands.
template <float (*widen)(unsigned)>
inline float add_specials(const unsigned* row, const unsigned* column, float start) {
  double sum = start;
  for (unsigned k = 0; k < 16; ++k) sum += double(widen(row[k])) * double(widen(column[k]));
  if (sum == sum) return float(sum);
  const unsigned bits = 0x7fffffffu;
  float nan;
  memcpy(&nan, &bits, sizeof nan);
  return nan;
}

/// The same contract as `multiply`.
template <typename Format, float (*widen)(unsigned)>
inline void multiply_exactly(const uint64_t* fragments) {
  typedef int Row __attribute__((vector_size(32)));  // an element for each of the 8 columns
  constexpr int product_shift = tensor_core.fraction - 2 * Format::fraction, sum_shift = tensor_core.fraction - Single::fraction;
  static_assert(product_shift >= 0 && sum_shift >= 0);
  unsigned a_bits[16][16], b_bits[8][16];
  Parts a[16][16];
  Row b_significand[16], b_exponent[16];
  unsigned special_rows = 0, special_columns = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    const Fragments& own = *reinterpret_cast<const Fragments*>(fragments[lane]);
    const unsigned g = lane / 4, first = lane % 4 * 2;
    for (unsigned r = 0; r < 4; ++r)
      for (unsigned i = 0; i < 2; ++i) {
        const unsigned m = g + r % 2 * 8, k = first + r / 2 * 8 + i;
        a[m][k] = take_apart<Format>(a_bits[m][k] = own.a[r] >> i * 16 & 0xffff);
        special_rows |= unsigned(!a[m][k].finite) << m;
      }
    for (unsigned r = 0; r < 2; ++r)
      for (unsigned i = 0; i < 2; ++i) {
        const unsigned k = first + r * 8 + i;
        const Parts part = take_apart<Format>(b_bits[g][k] = own.b[r] >> i * 16 & 0xffff);
        b_significand[k][g] = part.significand;
        b_exponent[k][g] = part.exponent;
        special_columns |= unsigned(!part.finite) << g;
      }
  }
  for (unsigned m = 0; m < 16; ++m) {
    float* of_column[8];
    for (unsigned n = 0; n < 8; ++n) of_column[n] = reinterpret_cast<const Fragments*>(fragments[m % 8 * 4 + n / 2])->d + m / 8 * 2 + n % 2;
    float before[8], total[8];
    for (unsigned n = 0; n < 8; ++n) total[n] = before[n] = *of_column[n];
    for (int from = 0; from < 16; from += tensor_core.block) {
      Row largest, significand, exponent;
      for (unsigned n = 0; n < 8; ++n) {
        unsigned bits;
        memcpy(&bits, &total[n], sizeof bits);
        const Parts part = take_apart<Single>(bits);
        significand[n] = part.significand;
        exponent[n] = part.exponent;
        largest[n] = part.exponent > least_exponent ? part.exponent : least_exponent;
      }
      for (int k = from; k < from + tensor_core.block; ++k) {
        const Row sum = a[m][k].exponent + b_exponent[k];
        largest = sum > largest ? sum : largest;
      }
      const auto align = [&largest](Row value, int left, Row its_exponent) {
        const Row sign = value >> 31, right = largest - its_exponent;
        const Row size = (((value ^ sign) - sign) << left) >> (right < 31 ? right : 31);
        return (size ^ sign) - sign;
      };
      // Each is below 2^27, so nine of them fit 32 bits.
      Row parts[2] = {align(significand, sum_shift, exponent), Row{}};
      for (int k = from; k < from + tensor_core.block; ++k)
        parts[k / 8 % 2] += align(a[m][k].significand * b_significand[k], product_shift, a[m][k].exponent + b_exponent[k]);
      for (unsigned n = 0; n < 8; ++n)
        if (fabsf(total[n]) < INFINITY) total[n] = cut(int64_t(parts[0][n]) + parts[1][n], largest[n] - tensor_core.fraction);
    }
    for (unsigned n = 0; n < 8; ++n) {
      const bool special = (special_rows >> m & 1) || (special_columns >> n & 1) || !(fabsf(before[n]) < INFINITY);
      *of_column[n] = special ? add_specials<widen>(a_bits[m], b_bits[n], before[n]) : total[n];
    }
  }
}

inline void multiply_half(const uint64_t* fragments) { multiply_exactly<Half, widen_half>(fragments); }
inline void multiply_bfloat16(const uint64_t* fragments) { multiply_exactly<Bfloat16, widen_bfloat16>(fragments); }

#else

inline void multiply_half(const uint64_t* fragments) { multiply<widen_half>(fragments); }
inline void multiply_bfloat16(const uint64_t* fragments) { multiply<widen_bfloat16>(fragments); }

#endif

}  // namespace specforge_emulator

#endif
