// half and bfloat16 functions that NVIDIA's own headers leave to the device. Types, conversions and plain arithmetic are
// NVIDIA's; what is here rounds once from a double, as the device's fused and elementary functions do (to their accuracy).
#ifndef SPECFORGE_EMULATOR_HALVES_H
#define SPECFORGE_EMULATOR_HALVES_H

#include "emulator_arithmetic.h"

namespace specforge_emulator {

/// a * b + c for operands whose product is exact in double, rounded to odd: a later rounding to fewer bits is then exact.
inline double fused(double a, double b, double c) {
  const double product = a * b, sum = product + c;
  const double back = sum - product;
  const double error = (product - (sum - back)) + (c - back);
  if (error == 0.0 || !(fabs(sum) < INFINITY)) return sum;
  uint64_t bits;
  memcpy(&bits, &sum, 8);
  if (bits & 1) return sum;
  bits += (error > 0) == (sum > 0) ? 1 : uint64_t(-1);
  double odd;
  memcpy(&odd, &bits, 8);
  return odd;
}

inline float wide(__half x) { return __half2float(x); }
inline float wide(__nv_bfloat16 x) { return __bfloat162float(x); }
inline void narrow(__half& to, double x) { to = __double2half(x); }
inline void narrow(__nv_bfloat16& to, double x) { to = __double2bfloat16(x); }
template <typename T>
inline T narrowed(double x) {
  T result;
  narrow(result, x);
  return result;
}

}  // namespace specforge_emulator

#define SPECFORGE_BOTH(FUNCTION1, FUNCTION2, T, T2, EXPRESSION)                                              \
  inline T FUNCTION1(T x) {                                                                                  \
    const double v = specforge_emulator::wide(x);                                                            \
    return specforge_emulator::narrowed<T>(EXPRESSION);                                                      \
  }                                                                                                          \
  inline T2 FUNCTION2(T2 x) { return T2(FUNCTION1(T(x.x)), FUNCTION1(T(x.y))); }

#define SPECFORGE_INTEGER(PREFIX, T, NAME, TO)                                                                                                     \
  inline TO PREFIX##NAME##_rn(T x) { return specforge_emulator::to_integer<TO>(__builtin_nearbyintf(specforge_emulator::wide(x))); }               \
  inline TO PREFIX##NAME##_rd(T x) { return specforge_emulator::to_integer<TO>(__builtin_floorf(specforge_emulator::wide(x))); }                   \
  inline TO PREFIX##NAME##_ru(T x) { return specforge_emulator::to_integer<TO>(__builtin_ceilf(specforge_emulator::wide(x))); }

#define SPECFORGE_NARROW(PREFIX, T, T2)                                                                                    \
  inline T __hfma(T a, T b, T c) {                                                                                         \
    return specforge_emulator::narrowed<T>(                                                                                \
        specforge_emulator::fused(specforge_emulator::wide(a), specforge_emulator::wide(b), specforge_emulator::wide(c))); \
  }                                                                                                                        \
  inline T __hfma_sat(T a, T b, T c) {                                                                                     \
    return specforge_emulator::narrowed<T>(__saturatef(specforge_emulator::wide(__hfma(a, b, c))));                        \
  }                                                                                                                        \
  inline T __hfma_relu(T a, T b, T c) {                                                                                    \
    const float v = specforge_emulator::wide(__hfma(a, b, c));                                                             \
    return specforge_emulator::narrowed<T>(v < 0.0f ? 0.0f : v);                                                           \
  }                                                                                                                        \
  inline T2 __hfma2(T2 a, T2 b, T2 c) { return T2(__hfma(T(a.x), T(b.x), T(c.x)), __hfma(T(a.y), T(b.y), T(c.y))); }       \
  inline T2 __hfma2_sat(T2 a, T2 b, T2 c) {                                                                                \
    return T2(__hfma_sat(T(a.x), T(b.x), T(c.x)), __hfma_sat(T(a.y), T(b.y), T(c.y)));                                     \
  }                                                                                                                        \
  inline T2 __hfma2_relu(T2 a, T2 b, T2 c) {                                                                               \
    return T2(__hfma_relu(T(a.x), T(b.x), T(c.x)), __hfma_relu(T(a.y), T(b.y), T(c.y)));                                   \
  }                                                                                                                        \
  inline T2 __hcmadd(T2 a, T2 b, T2 c) {                                                                                   \
    return T2(__hfma(__hneg(T(a.y)), T(b.y), __hfma(T(a.x), T(b.x), T(c.x))),                                              \
              __hfma(T(a.y), T(b.x), __hfma(T(a.x), T(b.y), T(c.y))));                                                     \
  }                                                                                                                        \
  SPECFORGE_BOTH(hexp, h2exp, T, T2, exp(v))                                                                               \
  SPECFORGE_BOTH(hexp2, h2exp2, T, T2, exp2(v))                                                                            \
  SPECFORGE_BOTH(hexp10, h2exp10, T, T2, pow(10.0, v))                                                                     \
  SPECFORGE_BOTH(hlog, h2log, T, T2, log(v))                                                                               \
  SPECFORGE_BOTH(hlog2, h2log2, T, T2, log2(v))                                                                            \
  SPECFORGE_BOTH(hlog10, h2log10, T, T2, log10(v))                                                                         \
  SPECFORGE_BOTH(hsin, h2sin, T, T2, sin(v))                                                                               \
  SPECFORGE_BOTH(hcos, h2cos, T, T2, cos(v))                                                                               \
  SPECFORGE_BOTH(htanh, h2tanh, T, T2, tanh(v))                                                                            \
  SPECFORGE_BOTH(htanh_approx, h2tanh_approx, T, T2, tanh(v))                                                              \
  SPECFORGE_BOTH(hsqrt, h2sqrt, T, T2, sqrt(v))                                                                            \
  SPECFORGE_BOTH(hrsqrt, h2rsqrt, T, T2, 1.0 / sqrt(v))                                                                    \
  SPECFORGE_BOTH(hrcp, h2rcp, T, T2, 1.0 / v)                                                                              \
  SPECFORGE_BOTH(hceil, h2ceil, T, T2, ceil(v))                                                                            \
  SPECFORGE_BOTH(hfloor, h2floor, T, T2, floor(v))                                                                         \
  SPECFORGE_BOTH(hrint, h2rint, T, T2, nearbyint(v))                                                                       \
  SPECFORGE_BOTH(htrunc, h2trunc, T, T2, trunc(v))                                                                         \
  SPECFORGE_INTEGER(PREFIX, T, short, short)                                                                               \
  SPECFORGE_INTEGER(PREFIX, T, ushort, unsigned short)                                                                     \
  SPECFORGE_INTEGER(PREFIX, T, int, int)                                                                                   \
  SPECFORGE_INTEGER(PREFIX, T, uint, unsigned)                                                                             \
  SPECFORGE_INTEGER(PREFIX, T, ll, long long)                                                                              \
  SPECFORGE_INTEGER(PREFIX, T, ull, unsigned long long)
SPECFORGE_NARROW(__half2, __half, __half2)
SPECFORGE_NARROW(__bfloat162, __nv_bfloat16, __nv_bfloat162)
#undef SPECFORGE_NARROW
#undef SPECFORGE_INTEGER
#undef SPECFORGE_BOTH

#endif
