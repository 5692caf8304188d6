// What the tensor cores compute, for a whole warp at once. Lane 4 g + t of 32 holds pairs of neighbours as mma.cuh says.
//
// A product of two halves is exact in f32. The 16 products of an element are added in f32 by halving (k to k + 8, then to
// k + 4, ...) and their sum to the accumulator: five roundings to nearest on every product's way. A card adds all 17 at once,
// aligned to the largest, and cuts what is too small: its errors are of the same size, not the same.
#ifndef SPECFORGE_EMULATOR_MATRIX_H
#define SPECFORGE_EMULATOR_MATRIX_H

#include <stdint.h>
#include <string.h>

namespace specforge_emulator {

/// One lane's registers of d += a . b.
template <typename Sum>
struct FragmentsOf {
  Sum* d;
  const unsigned* a;
  const unsigned* b;
};
using Fragments = FragmentsOf<float>;
using ByteFragments = FragmentsOf<int>;

inline float widen_bfloat16(unsigned half) {
  const unsigned bits = half << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

inline float widen_half(unsigned half) {
  unsigned bits = (half & 0x7fff) << 13;
  float x;
  memcpy(&x, &bits, sizeof x);
  x *= 0x1p112f;  // the exponents' biases differ by 112; a subnormal becomes what it stands for
  memcpy(&bits, &x, sizeof x);
  bits |= ((half & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u) | (half & 0x8000) << 16;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/// `fragments`: the address of each lane's Fragments.
template <float (*widen)(unsigned)>
inline void multiply(const uint64_t* fragments) {
  typedef float Row __attribute__((vector_size(32)));
  float a[16][16];
  Row b[16];
  for (unsigned lane = 0; lane < 32; ++lane) {
    const Fragments& own = *reinterpret_cast<const Fragments*>(fragments[lane]);
    const unsigned g = lane / 4, k = lane % 4 * 2;
    for (unsigned r = 0; r < 4; ++r)
      for (unsigned i = 0; i < 2; ++i) a[g + r % 2 * 8][k + r / 2 * 8 + i] = widen(own.a[r] >> i * 16 & 0xffff);
    for (unsigned r = 0; r < 2; ++r)
      for (unsigned i = 0; i < 2; ++i) b[k + r * 8 + i][g] = widen(own.b[r] >> i * 16 & 0xffff);
  }
  for (unsigned m = 0; m < 16; ++m) {
    Row part[8];
    for (unsigned k = 0; k < 8; ++k) part[k] = a[m][k] * b[k] + a[m][k + 8] * b[k + 8];
    for (unsigned width = 4; width > 0; width /= 2)
      for (unsigned k = 0; k < width; ++k) part[k] += part[k + width];
    for (unsigned t = 0; t < 4; ++t) {
      float* const d = reinterpret_cast<const Fragments*>(fragments[m % 8 * 4 + t])->d + m / 8 * 2;
      d[0] += part[0][t * 2];
      d[1] += part[0][t * 2 + 1];
    }
  }
}

/// d += a . b of bytes, 32 products an element, modulo 2^32. A and B: signed or unsigned char.
template <typename A, typename B>
inline void multiply_bytes(const uint64_t* fragments) {
  A a[16][32];
  B b[32][8];
  for (unsigned lane = 0; lane < 32; ++lane) {
    const ByteFragments& own = *reinterpret_cast<const ByteFragments*>(fragments[lane]);
    const unsigned g = lane / 4, k = lane % 4 * 4;
    for (unsigned i = 0; i < 4; ++i) {
      for (unsigned r = 0; r < 4; ++r) a[g + r % 2 * 8][k + r / 2 * 16 + i] = A(own.a[r] >> i * 8);
      for (unsigned r = 0; r < 2; ++r) b[k + r * 16 + i][g] = B(own.b[r] >> i * 8);
    }
  }
  for (unsigned m = 0; m < 16; ++m) {
    unsigned sums[8] = {};
    for (unsigned k = 0; k < 32; ++k)
      for (unsigned n = 0; n < 8; ++n) sums[n] += unsigned(int(a[m][k]) * int(b[k][n]));
    for (unsigned n = 0; n < 8; ++n) {
      int& d = reinterpret_cast<const ByteFragments*>(fragments[m % 8 * 4 + n / 2])->d[m / 8 * 2 + n % 2];
      d = int(unsigned(d) + sums[n]);
    }
  }
}

/// What a lane loaded of a matrix for ldmatrix, and the words that it gets: one of each matrix.
struct MatrixRow {
  unsigned loaded[4], words[4];
};

/// Lane 8 m + r of `rows`, addresses of MatrixRow, holds row r of matrix m.
inline void distribute(const uint64_t* rows, unsigned count, bool transposed) {
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned m = 0; m < count; ++m) {
      const auto word = [&](unsigned row, unsigned place) { return reinterpret_cast<const MatrixRow*>(rows[m * 8 + row])->loaded[place]; };
      const auto element = [&](unsigned row) { return word(row, g / 2) >> g % 2 * 16 & 0xffff; };
      reinterpret_cast<MatrixRow*>(rows[lane])->words[m] = transposed ? element(t * 2) | element(t * 2 + 1) << 16 : word(g, t);
    }
  }
}

inline void transpose(const uint64_t* pairs, uint64_t* turned) {
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    const auto element = [&](unsigned row) { return unsigned(pairs[row * 4 + g / 2] >> g % 2 * 16) & 0xffff; };
    turned[lane] = element(t * 2) | element(t * 2 + 1) << 16;
  }
}

}  // namespace specforge_emulator

#endif
