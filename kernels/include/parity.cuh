// The parity build: the same bits on a card and on the CPU. specforge.cuh includes this where SPECFORGE_PARITY is defined (its
// value is the compute capability whose tensor cores the emulator repeats, as 90); both compilers fuse nothing
// (--fmad=false, -ffp-contract=off), divide and take roots as IEEE 754 says and keep subnormals. What is left is the
// elementary functions, which each vendor approximates in its own way: here they are sums and products of f32, one order,
// the same on both sides. A name without such a definition does not compile.
//
// Largest error over all arguments (for tanhf and rsqrtf: over all that symmetry and powers of four do not repeat), in units in
// the last place of the result, against float64 (results that are subnormal: in multiples of 2^-149):
//   exp2f 1.25   expf 1.02   exp10f 1.25   logf 0.89   log2f 0.97   log10f 0.89   tanhf 1.34   rsqrtf 1.50
#ifndef SPECFORGE_PARITY_CUH
#define SPECFORGE_PARITY_CUH

namespace specforge_parity {

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ float power_of_two(int n) { return __int_as_float((n + 127) << 23); }

// x * 2^n for |x| near 1 and n from -252 to 254: the first product is exact, the second rounds where the result is subnormal.
__device__ __forceinline__ float scale(float x, int n) { return x * power_of_two(n >> 1) * power_of_two(n - (n >> 1)); }

__device__ __forceinline__ float exp2_of(float x) {
  if (x != x) return x;
  if (x >= 128.0f) return infinity();
  if (x < -151.0f) return 0.0f;
  const float n = rintf(x), r = x - n;  // r is exact
  float q = 0x1.448fc0p-13f;
  q = q * r + 0x1.5f47b0p-10f;
  q = q * r + 0x1.3b29aap-7f;
  q = q * r + 0x1.c6aed0p-5f;
  q = q * r + 0x1.ebfbe0p-3f;
  q = q * r + 0x1.62e430p-1f;
  return scale(1.0f + r * q, (int)n);
}

// exp(r) for |r| up to ln(2) / 2, times 2^n.
__device__ __forceinline__ float exp_reduced(float r, float n) {
  float q = 0x1.6db462p-10f;
  q = q * r + 0x1.123b7ep-7f;
  q = q * r + 0x1.55545ep-5f;
  q = q * r + 0x1.55548ep-3f;
  q = q * r + 0.5f;
  return scale(1.0f + (r + r * r * q), (int)n);
}

__device__ __forceinline__ float exp_of(float x) {
  if (x != x) return x;
  if (x > 89.0f) return infinity();
  if (x < -104.0f) return 0.0f;
  const float n = rintf(x * 0x1.715476p+0f);
  return exp_reduced((x - n * 0x1.62e400p-1f) - n * 0x1.7f7d1cp-20f, n);  // ln(2) in two parts: the first product is exact
}

__device__ __forceinline__ float exp10_of(float x) {
  if (x != x) return x;
  if (x > 38.7f) return infinity();
  if (x < -45.5f) return 0.0f;
  const float n = rintf(x * 0x1.a934f0p+1f);
  const float r = (x - n * 0x1.344000p-2f) - n * 0x1.3509f8p-18f;  // log10(2) in two parts
  return exp_reduced(r * 0x1.26bb1cp+1f, n);
}

// log(x) = k ln(2) + log(1 + f), 1 + f from sqrt(1/2) to sqrt(2); for a positive finite x.
struct Logarithm {
  float k, f, correction;  // log(1 + f) = f - correction
};

__device__ __forceinline__ Logarithm split_log(float x) {
  int k = 0;
  if (x < 0x1p-126f) x *= 0x1p25f, k = -25;
  const int bits = __float_as_int(x) + (0x3f800000 - 0x3f3504f3);
  k += (bits >> 23) - 127;
  const float f = __int_as_float((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  const float s = f / (2.0f + f), z = s * s, half = 0.5f * f * f;
  float q = 0x1.dde52ap-3f;
  q = q * z + 0x1.245bd2p-2f;
  q = q * z + 0x1.9999ecp-2f;
  q = q * z + 0x1.555556p-1f;
  return {(float)k, f, half - s * (half + z * q)};
}

// What every logarithm does at the ends of its range; true where that is the result.
__device__ __forceinline__ bool log_at_end(float x, float* result) {
  *result = x == 0.0f ? -infinity() : x < 0.0f ? __int_as_float(0x7fffffff) : x;
  return !(x > 0.0f && x < infinity());
}

__device__ __forceinline__ float log_of(float x) {
  float end;
  if (log_at_end(x, &end)) return end;
  const Logarithm l = split_log(x);
  return l.k * 0x1.62e400p-1f + (l.f - (l.correction - l.k * 0x1.7f7d1cp-20f));
}

__device__ __forceinline__ float log2_of(float x) {
  float end;
  if (log_at_end(x, &end)) return end;
  const Logarithm l = split_log(x);
  const float high = __int_as_float(__float_as_int(l.f - l.correction) & ~0xfff);  // 12 bits: its product below is exact
  const float low = (l.f - high) - l.correction;
  return l.k + (high * 0x1.714000p+0f + (high * 0x1.47652cp-12f + low * 0x1.715476p+0f));
}

__device__ __forceinline__ float log10_of(float x) {
  float end;
  if (log_at_end(x, &end)) return end;
  const Logarithm l = split_log(x);
  const float high = __int_as_float(__float_as_int(l.f - l.correction) & ~0xfff);
  const float low = (l.f - high) - l.correction;
  return l.k * 0x1.344000p-2f + (high * 0x1.bca000p-2f + (l.k * 0x1.3509f8p-18f + (high * 0x1.7b1526p-14f + low * 0x1.bcb7b2p-2f)));
}

__device__ __forceinline__ float tanh_of(float x) {
  const float a = fabsf(x), z = x * x;
  if (a < 0.6f) {
    float q = 0x1.377602p-9f;
    q = q * z + -0x1.13be52p-7f;
    q = q * z + 0x1.650166p-6f;
    q = q * z + -0x1.ba0e00p-5f;
    q = q * z + 0x1.1110f6p-3f;
    q = q * z + -0x1.555556p-2f;
    return x + x * (z * q);
  }
  if (x != x) return x;
  const float size = a > 9.1f ? 1.0f : 1.0f - 2.0f / (exp_of(2.0f * a) + 1.0f);
  return x < 0.0f ? -size : size;
}

__device__ __forceinline__ float rsqrt_of(float x) { return 1.0f / sqrtf(x); }

}  // namespace specforge_parity

#undef exp10f
#undef rsqrtf
#undef __expf
#undef __exp10f
#undef __logf
#undef __log2f
#undef __log10f
#undef __tanhf
#define exp2f(x) specforge_parity::exp2_of(x)
#define expf(x) specforge_parity::exp_of(x)
#define exp10f(x) specforge_parity::exp10_of(x)
#define logf(x) specforge_parity::log_of(x)
#define log2f(x) specforge_parity::log2_of(x)
#define log10f(x) specforge_parity::log10_of(x)
#define tanhf(x) specforge_parity::tanh_of(x)
#define rsqrtf(x) specforge_parity::rsqrt_of(x)
#define __expf(x) specforge_parity::exp_of(x)
#define __exp10f(x) specforge_parity::exp10_of(x)
#define __logf(x) specforge_parity::log_of(x)
#define __log2f(x) specforge_parity::log2_of(x)
#define __log10f(x) specforge_parity::log10_of(x)
#define __tanhf(x) specforge_parity::tanh_of(x)
#define __fdividef(a, b) ((a) / (b))

// Not defined here, so not usable in a kernel whose floats shall agree bit for bit.
#undef sinf
#undef __sinf
#undef __cosf
#undef __tanf
#undef __sincosf
#undef __powf
#undef sincosf
#undef sinpif
#undef cospif
#undef sincospif
#undef rcbrtf
#undef normcdff
#define SPECFORGE_NO_PARITY(name) specforge_parity_does_not_define_##name
#define acosf(...) SPECFORGE_NO_PARITY(acosf)
#define asinf(...) SPECFORGE_NO_PARITY(asinf)
#define atanf(...) SPECFORGE_NO_PARITY(atanf)
#define atan2f(...) SPECFORGE_NO_PARITY(atan2f)
#define cbrtf(...) SPECFORGE_NO_PARITY(cbrtf)
#define cosf(...) SPECFORGE_NO_PARITY(cosf)
#define coshf(...) SPECFORGE_NO_PARITY(coshf)
#define cospif(...) SPECFORGE_NO_PARITY(cospif)
#define erff(...) SPECFORGE_NO_PARITY(erff)
#define erfcf(...) SPECFORGE_NO_PARITY(erfcf)
#define expm1f(...) SPECFORGE_NO_PARITY(expm1f)
#define hypotf(...) SPECFORGE_NO_PARITY(hypotf)
#define log1pf(...) SPECFORGE_NO_PARITY(log1pf)
#define normcdff(...) SPECFORGE_NO_PARITY(normcdff)
#define powf(...) SPECFORGE_NO_PARITY(powf)
#define rcbrtf(...) SPECFORGE_NO_PARITY(rcbrtf)
#define sincosf(...) SPECFORGE_NO_PARITY(sincosf)
#define sincospif(...) SPECFORGE_NO_PARITY(sincospif)
#define sinf(...) SPECFORGE_NO_PARITY(sinf)
#define sinhf(...) SPECFORGE_NO_PARITY(sinhf)
#define sinpif(...) SPECFORGE_NO_PARITY(sinpif)
#define tanf(...) SPECFORGE_NO_PARITY(tanf)
#define __cosf(...) SPECFORGE_NO_PARITY(__cosf)
#define __powf(...) SPECFORGE_NO_PARITY(__powf)
#define __sincosf(...) SPECFORGE_NO_PARITY(__sincosf)
#define __sinf(...) SPECFORGE_NO_PARITY(__sinf)
#define __tanf(...) SPECFORGE_NO_PARITY(__tanf)
#define hexp(...) SPECFORGE_NO_PARITY(hexp)
#define hexp2(...) SPECFORGE_NO_PARITY(hexp2)
#define hlog(...) SPECFORGE_NO_PARITY(hlog)
#define hlog2(...) SPECFORGE_NO_PARITY(hlog2)
#define hrsqrt(...) SPECFORGE_NO_PARITY(hrsqrt)
#define hrcp(...) SPECFORGE_NO_PARITY(hrcp)
#define htanh(...) SPECFORGE_NO_PARITY(htanh)
#define h2exp(...) SPECFORGE_NO_PARITY(h2exp)
#define h2exp2(...) SPECFORGE_NO_PARITY(h2exp2)
#define h2log(...) SPECFORGE_NO_PARITY(h2log)
#define h2log2(...) SPECFORGE_NO_PARITY(h2log2)
#define h2rsqrt(...) SPECFORGE_NO_PARITY(h2rsqrt)
#define h2rcp(...) SPECFORGE_NO_PARITY(h2rcp)
#define h2tanh(...) SPECFORGE_NO_PARITY(h2tanh)

#endif
