// Device arithmetic that a host compiler lacks: float and integer intrinsics, conversions that saturate, min and max.
// What the device only approximates is computed here to full float precision, in the form that the device uses.
#ifndef SPECFORGE_EMULATOR_ARITHMETIC_H
#define SPECFORGE_EMULATOR_ARITHMETIC_H

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <type_traits>

// ---- bits ----

#define SPECFORGE_REINTERPRET(NAME, TO, FROM) \
  inline TO NAME(FROM value) {                \
    static_assert(sizeof(TO) == sizeof(FROM)); \
    TO result;                                \
    memcpy(&result, &value, sizeof result);   \
    return result;                            \
  }
SPECFORGE_REINTERPRET(__float_as_int, int, float)
SPECFORGE_REINTERPRET(__float_as_uint, unsigned, float)
SPECFORGE_REINTERPRET(__int_as_float, float, int)
SPECFORGE_REINTERPRET(__uint_as_float, float, unsigned)
SPECFORGE_REINTERPRET(__double_as_longlong, long long, double)
SPECFORGE_REINTERPRET(__longlong_as_double, double, long long)
#undef SPECFORGE_REINTERPRET

inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
  x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
  x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(x);
}
inline unsigned long long __brevll(unsigned long long x) {
  return (unsigned long long)__brev(unsigned(x)) << 32 | __brev(unsigned(x >> 32));
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long bytes = (unsigned long long)y << 32 | x;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) result |= unsigned(bytes >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned((((unsigned long long)high << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned(((unsigned long long)high << 32 | low) >> (shift & 31));
}
inline unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned shift) {
  return shift >= 32 ? low : __funnelshift_l(low, high, shift);
}
inline unsigned __funnelshift_rc(unsigned low, unsigned high, unsigned shift) {
  return shift >= 32 ? high : __funnelshift_r(low, high, shift);
}

// ---- integers ----

inline int __mul24(int x, int y) { return int((long long)(int(unsigned(x) << 8) >> 8) * (int(unsigned(y) << 8) >> 8)); }
inline unsigned __umul24(unsigned x, unsigned y) { return (x & 0xffffffu) * (y & 0xffffffu); }
inline int __mulhi(int x, int y) { return int((long long)x * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned((unsigned long long)x * y >> 32); }
inline long long __mul64hi(long long x, long long y) { return (long long)((__int128)x * y >> 64); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)((unsigned __int128)x * y >> 64);
}
inline unsigned __sad(int x, int y, unsigned z) { return z + (x > y ? unsigned(x) - unsigned(y) : unsigned(y) - unsigned(x)); }
inline unsigned __usad(unsigned x, unsigned y, unsigned z) { return z + (x > y ? x - y : y - x); }
inline int __hadd(int x, int y) { return int(((long long)x + y) >> 1); }
inline int __rhadd(int x, int y) { return int(((long long)x + y + 1) >> 1); }
inline unsigned __uhadd(unsigned x, unsigned y) { return unsigned(((unsigned long long)x + y) >> 1); }
inline unsigned __urhadd(unsigned x, unsigned y) { return unsigned(((unsigned long long)x + y + 1) >> 1); }

namespace specforge_emulator {

/// Applies `step` to each of the parts of 32-bit words: Part is the element's type, signed or not.
template <typename Part, typename Step>
inline unsigned by_parts(unsigned a, unsigned b, Step step) {
  constexpr unsigned bits = sizeof(Part) * 8, ones = (1u << bits) - 1;
  unsigned result = 0;
  for (unsigned i = 0; i < 32; i += bits) result |= (unsigned(step(int(Part(a >> i)), int(Part(b >> i)))) & ones) << i;
  return result;
}

template <typename Part>
inline int saturate(int value) {
  constexpr int low = std::is_signed<Part>::value ? -(1 << (sizeof(Part) * 8 - 1)) : 0;
  constexpr int high = std::is_signed<Part>::value ? (1 << (sizeof(Part) * 8 - 1)) - 1 : (1 << sizeof(Part) * 8) - 1;
  return value < low ? low : value > high ? high : value;
}

}  // namespace specforge_emulator

#define SPECFORGE_PARTS(NAME, PART, EXPRESSION)                                                                           \
  inline unsigned NAME(unsigned x, unsigned y) {                                                                          \
    return specforge_emulator::by_parts<PART>(x, y, [](int a, int b) { return EXPRESSION; });                             \
  }
#define SPECFORGE_SIMD(N, S, U)                                                          \
  SPECFORGE_PARTS(__vadd##N, U, a + b)                                                   \
  SPECFORGE_PARTS(__vsub##N, U, a - b)                                                   \
  SPECFORGE_PARTS(__vaddss##N, S, specforge_emulator::saturate<S>(a + b))                \
  SPECFORGE_PARTS(__vsubss##N, S, specforge_emulator::saturate<S>(a - b))                \
  SPECFORGE_PARTS(__vaddus##N, U, specforge_emulator::saturate<U>(a + b))                \
  SPECFORGE_PARTS(__vsubus##N, U, specforge_emulator::saturate<U>(a - b))                \
  SPECFORGE_PARTS(__vabsdiffu##N, U, a > b ? a - b : b - a)                              \
  SPECFORGE_PARTS(__vabsdiffs##N, S, a > b ? a - b : b - a)                              \
  SPECFORGE_PARTS(__vminu##N, U, a < b ? a : b)                                          \
  SPECFORGE_PARTS(__vmins##N, S, a < b ? a : b)                                          \
  SPECFORGE_PARTS(__vmaxu##N, U, a > b ? a : b)                                          \
  SPECFORGE_PARTS(__vmaxs##N, S, a > b ? a : b)                                          \
  SPECFORGE_PARTS(__vavgu##N, U, (a + b + 1) >> 1)                                       \
  SPECFORGE_PARTS(__vcmpeq##N, U, a == b ? -1 : 0)                                       \
  SPECFORGE_PARTS(__vcmpne##N, U, a != b ? -1 : 0)                                       \
  SPECFORGE_PARTS(__vcmpgtu##N, U, a > b ? -1 : 0)                                       \
  SPECFORGE_PARTS(__vcmpgts##N, S, a > b ? -1 : 0)                                       \
  SPECFORGE_PARTS(__vcmpgeu##N, U, a >= b ? -1 : 0)                                      \
  SPECFORGE_PARTS(__vcmpges##N, S, a >= b ? -1 : 0)                                      \
  SPECFORGE_PARTS(__vcmpltu##N, U, a < b ? -1 : 0)                                       \
  SPECFORGE_PARTS(__vcmplts##N, S, a < b ? -1 : 0)
SPECFORGE_SIMD(2, int16_t, uint16_t)
SPECFORGE_SIMD(4, int8_t, uint8_t)
#undef SPECFORGE_SIMD
#undef SPECFORGE_PARTS

#define SPECFORGE_DOT(RESULT, A_WORD, B_WORD, A, B)                                                                       \
  inline RESULT __dp4a(A_WORD x, B_WORD y, RESULT sum) {                                                                  \
    unsigned total = unsigned(sum);                                                                                       \
    for (unsigned i = 0; i < 32; i += 8) total += unsigned(int(A(unsigned(x) >> i)) * int(B(unsigned(y) >> i)));          \
    return RESULT(total);                                                                                                 \
  }                                                                                                                       \
  inline RESULT __dp2a_lo(A_WORD x, B_WORD y, RESULT sum) {                                                               \
    return RESULT(unsigned(sum) + unsigned(int(A##_wide(unsigned(x))) * int(B(unsigned(y)))) +                            \
                  unsigned(int(A##_wide(unsigned(x) >> 16)) * int(B(unsigned(y) >> 8))));                                 \
  }                                                                                                                       \
  inline RESULT __dp2a_hi(A_WORD x, B_WORD y, RESULT sum) { return __dp2a_lo(x, B_WORD(unsigned(y) >> 16), sum); }
namespace specforge_emulator {
using signed_byte = int8_t;
using signed_byte_wide = int16_t;
using unsigned_byte = uint8_t;
using unsigned_byte_wide = uint16_t;
}  // namespace specforge_emulator
SPECFORGE_DOT(int, int, int, specforge_emulator::signed_byte, specforge_emulator::signed_byte)
SPECFORGE_DOT(unsigned, unsigned, unsigned, specforge_emulator::unsigned_byte, specforge_emulator::unsigned_byte)
#undef SPECFORGE_DOT
inline int __dp4a(char4 x, char4 y, int sum) { return sum + x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w; }
inline unsigned __dp4a(uchar4 x, uchar4 y, unsigned sum) { return sum + x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w; }

// ---- min and max, with CUDA's mixed overloads; a NaN loses to a number ----

#define SPECFORGE_MIN_MAX(RESULT, A, B)                                                    \
  inline RESULT min(A a, B b) { return (RESULT)a < (RESULT)b ? (RESULT)a : (RESULT)b; }\
  inline RESULT max(A a, B b) { return (RESULT)a > (RESULT)b ? (RESULT)a : (RESULT)b; }
SPECFORGE_MIN_MAX(int, int, int)
SPECFORGE_MIN_MAX(unsigned, unsigned, unsigned)
SPECFORGE_MIN_MAX(unsigned, int, unsigned)
SPECFORGE_MIN_MAX(unsigned, unsigned, int)
SPECFORGE_MIN_MAX(long, long, long)
SPECFORGE_MIN_MAX(unsigned long, unsigned long, unsigned long)
SPECFORGE_MIN_MAX(unsigned long, long, unsigned long)
SPECFORGE_MIN_MAX(unsigned long, unsigned long, long)
SPECFORGE_MIN_MAX(long long, long long, long long)
SPECFORGE_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
SPECFORGE_MIN_MAX(unsigned long long, long long, unsigned long long)
SPECFORGE_MIN_MAX(unsigned long long, unsigned long long, long long)
#undef SPECFORGE_MIN_MAX
#define SPECFORGE_MIN_MAX(T)                                                                       \
  inline T min(T a, T b) { return a < b || b != b ? a : a == b && !__builtin_signbit(b) ? a : b; } \
  inline T max(T a, T b) { return a > b || b != b ? a : a == b && __builtin_signbit(b) ? a : b; }
SPECFORGE_MIN_MAX(float)
SPECFORGE_MIN_MAX(double)
#undef SPECFORGE_MIN_MAX
inline double min(float a, double b) { return min(double(a), b); }
inline double min(double a, float b) { return min(a, double(b)); }
inline double max(float a, double b) { return max(double(a), b); }
inline double max(double a, float b) { return max(a, double(b)); }
inline unsigned umin(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned umax(unsigned a, unsigned b) { return a > b ? a : b; }
inline long long llmin(long long a, long long b) { return a < b ? a : b; }
inline long long llmax(long long a, long long b) { return a > b ? a : b; }
inline unsigned long long ullmin(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
inline unsigned long long ullmax(unsigned long long a, unsigned long long b) { return a > b ? a : b; }

// ---- float arithmetic, rounded to nearest: the host's own (contraction is off) ----

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frsqrt_rn(float a) { return float(1.0 / sqrt(double(a))); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __drcp_rn(double a) { return 1.0 / a; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }  // NaN becomes 0
inline float __fdividef(float a, float b) {
  const float size = fabsf(b);
  if (size > 0x1p126f && size < INFINITY) return a * 0.0f;  // documented: 0, or NaN for an infinite a
  return a / b;
}
inline float fdividef(float a, float b) { return a / b; }

// The C library declares some of these names itself, with external linkage; a macro steps around it.
namespace specforge_emulator {
inline float fast_exp(float x) { return exp2f(x * 1.4426950408889634f); }
inline float fast_exp10(float x) { return exp2f(x * 3.3219280948873623f); }
inline float fast_log2(float x) { return log2f(x); }
inline float fast_log(float x) { return log2f(x) * 0.6931471805599453f; }
inline float fast_log10(float x) { return log2f(x) * 0.3010299956639812f; }
inline float fast_pow(float x, float y) { return exp2f(y * log2f(x)); }
inline float fast_sin(float x) { return sinf(x); }
inline float fast_cos(float x) { return cosf(x); }
inline float fast_tan(float x) { return sinf(x) / cosf(x); }
inline float fast_tanh(float x) { return tanhf(x); }
inline void fast_sincos(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline float reciprocal_sqrt(float x) { return float(1.0 / sqrt(double(x))); }
inline double reciprocal_sqrt(double x) { return 1.0 / sqrt(x); }
inline float reciprocal_cbrt(float x) { return float(1.0 / cbrt(double(x))); }
inline float exp_10(float x) { return float(exp2(double(x) * 3.321928094887362347870319429489390)); }
inline void sin_and_cos(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline double half_turn(double x) { return (x - 2.0 * rint(x * 0.5)) * 3.14159265358979323846; }
inline float sin_pi(float x) { return float(sin(half_turn(double(x)))); }
inline float cos_pi(float x) { return float(cos(half_turn(double(x)))); }
inline void sin_and_cos_pi(float x, float* s, float* c) { *s = sin_pi(x), *c = cos_pi(x); }
inline float normal_cdf(float x) { return float(0.5 * erfc(double(x) * -0.70710678118654752440)); }
}  // namespace specforge_emulator
#define __expf specforge_emulator::fast_exp
#define __exp10f specforge_emulator::fast_exp10
#define __logf specforge_emulator::fast_log
#define __log2f specforge_emulator::fast_log2
#define __log10f specforge_emulator::fast_log10
#define __powf specforge_emulator::fast_pow
#define __sinf specforge_emulator::fast_sin
#define __cosf specforge_emulator::fast_cos
#define __tanf specforge_emulator::fast_tan
#define __tanhf specforge_emulator::fast_tanh
#define __sincosf specforge_emulator::fast_sincos
#define rsqrtf specforge_emulator::reciprocal_sqrt
#define rsqrt specforge_emulator::reciprocal_sqrt
#define rcbrtf specforge_emulator::reciprocal_cbrt
#define exp10f specforge_emulator::exp_10
#define sincosf specforge_emulator::sin_and_cos
#define sinpif specforge_emulator::sin_pi
#define cospif specforge_emulator::cos_pi
#define sincospif specforge_emulator::sin_and_cos_pi
#define normcdff specforge_emulator::normal_cdf

// ---- conversions: out of range saturates, NaN becomes 0 (in 64 bits: the top bit alone) ----

namespace specforge_emulator {
template <typename To, typename From>
inline To to_integer(From rounded) {
  constexpr bool wide = sizeof(To) == 8;
  constexpr To lowest = std::is_signed<To>::value ? To(To(1) << (sizeof(To) * 8 - 1)) : To(0);
  constexpr To highest = To(~lowest);
  const From limit = ldexp(From(1), int(sizeof(To) * 8) - (std::is_signed<To>::value ? 1 : 0));
  if (rounded != rounded) return wide ? To(1ull << 63) : To(0);
  if (rounded >= limit) return highest;
  if (rounded <= From(lowest)) return lowest;
  return To(rounded);
}
}  // namespace specforge_emulator
#define SPECFORGE_CONVERT(FROM, NAME, TO)                                                                                       \
  inline TO __##FROM##2##NAME##_rn(FROM x) { return specforge_emulator::to_integer<TO>(FROM(__builtin_nearbyint(double(x)))); } \
  inline TO __##FROM##2##NAME##_rz(FROM x) { return specforge_emulator::to_integer<TO>(FROM(__builtin_trunc(double(x)))); }     \
  inline TO __##FROM##2##NAME##_ru(FROM x) { return specforge_emulator::to_integer<TO>(FROM(__builtin_ceil(double(x)))); }      \
  inline TO __##FROM##2##NAME##_rd(FROM x) { return specforge_emulator::to_integer<TO>(FROM(__builtin_floor(double(x)))); }
SPECFORGE_CONVERT(float, int, int)
SPECFORGE_CONVERT(float, uint, unsigned)
SPECFORGE_CONVERT(float, ll, long long)
SPECFORGE_CONVERT(float, ull, unsigned long long)
SPECFORGE_CONVERT(double, int, int)
SPECFORGE_CONVERT(double, uint, unsigned)
SPECFORGE_CONVERT(double, ll, long long)
SPECFORGE_CONVERT(double, ull, unsigned long long)
#undef SPECFORGE_CONVERT
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline float __ll2float_rn(long long x) { return float(x); }
inline float __ull2float_rn(unsigned long long x) { return float(x); }
inline double __int2double_rn(int x) { return double(x); }
inline double __uint2double_rn(unsigned x) { return double(x); }
inline double __ll2double_rn(long long x) { return double(x); }
inline double __ull2double_rn(unsigned long long x) { return double(x); }
inline float __double2float_rn(double x) { return float(x); }

#endif
