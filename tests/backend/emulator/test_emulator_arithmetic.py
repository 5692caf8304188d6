from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

SOURCE = r"""
#define EACH const int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return
extern "C" __global__ void narrow(const float* x, __half* h, __nv_bfloat16* b, int n) {
  EACH; h[i] = __float2half_rn(x[i]); b[i] = __float2bfloat16(x[i]);
}
extern "C" __global__ void widen(const __half* h, const __nv_bfloat16* b, float* x, float* y, int n) {
  EACH; x[i] = __half2float(h[i]); y[i] = __bfloat162float(b[i]);
}
template <typename T> __device__ void arithmetic(const T* a, const T* b, const T* c, T* y, int i, int n) {
  y[i] = a[i] + b[i]; y[n + i] = __hmul(a[i], b[i]); y[2 * n + i] = __hfma(a[i], b[i], c[i]);
  y[3 * n + i] = hexp2(a[i]); y[4 * n + i] = hrcp(a[i]); y[5 * n + i] = hsqrt(a[i]); y[6 * n + i] = __hmax(a[i], b[i]);
}
extern "C" __global__ void half_arithmetic(const __half* a, const __half* b, const __half* c, __half* y, int n) {
  EACH; arithmetic(a, b, c, y, i, n);
}
typedef __nv_bfloat16 bf16;
extern "C" __global__ void bf16_arithmetic(const bf16* a, const bf16* b, const bf16* c, bf16* y, int n) {
  EACH; arithmetic(a, b, c, y, i, n);
}
extern "C" __global__ void pairs(const __half2* a, const __half2* b, __half2* y, const __nv_bfloat162* p,
                                 __nv_bfloat162* q, int n) {
  EACH; y[i] = __hfma2(a[i], b[i], a[i]); q[i] = __hadd2(p[i], h2exp2(p[i]));
}
extern "C" __global__ void bits(const unsigned* x, const unsigned* y, unsigned* r, int n) {
  EACH; const unsigned a = x[i], b = y[i]; unsigned* o = r + 16 * i;
  o[0] = __clz(a); o[1] = __popc(a); o[2] = __ffs(a); o[3] = __brev(a);
  o[4] = __byte_perm(a, b, 0x4163); o[5] = __mul24(a, b);
  o[6] = __umulhi(a, b); o[7] = __mulhi(int(a), int(b)); o[8] = __dp4a(int(a), int(b), 7); o[9] = __dp4a(a, b, 7u);
  o[10] = __funnelshift_r(a, b, b); o[11] = __vsubss4(a, b); o[12] = __vcmpne4(a, b); o[13] = __usad(a, b, 1u);
  o[14] = min(int(a), int(b)); o[15] = max(int(a), b);
}
extern "C" __global__ void floats(const float* x, const float* y, float* r, int n) {
  EACH; const float a = x[i], b = y[i]; float* o = r + 14 * i;
  o[0] = __expf(a); o[1] = __logf(fabsf(a)); o[2] = exp2f(a); o[3] = rsqrtf(fabsf(a));
  o[4] = __frcp_rn(a); o[5] = __fdividef(a, b);
  o[6] = fmaf(a, b, a); o[7] = a * b + a; o[8] = max(a, b); o[9] = fminf(a, b); o[10] = __saturatef(a);
  o[11] = __powf(fabsf(a), b);
  o[12] = tanhf(a); o[13] = __uint_as_float(__float_as_uint(a) ^ 0x80000000u);
}
extern "C" __global__ void to_int(const float* x, int* r, unsigned* u, long long* l, int n) {
  EACH; const float a = x[i]; int* o = r + 4 * i;
  o[0] = __float2int_rn(a); o[1] = __float2int_rz(a); o[2] = __float2int_ru(a); o[3] = __float2int_rd(a);
  u[i] = __float2uint_rn(x[i]); l[i] = __float2ll_rz(x[i]);
}
"""
ENTRIES = ["narrow", "widen", "half_arithmetic", "bf16_arithmetic", "pairs", "bits", "floats", "to_int"]
KINDS = [("half_arithmetic", np.float16), ("bf16_arithmetic", ml_dtypes.bfloat16)]


@pytest.fixture(scope="module")
def kernels(build):
    return build(SOURCE, ENTRIES)


def launch(kernels, entry, n, *arrays):
    kernels.launch(entry, *arrays, n, grid=(n + 255) // 256, block=256)


def bits_of(array):
    """Bit patterns, with every NaN as one."""
    wide = array.astype(np.float32)
    return np.where(np.isnan(wide), np.uint16(0x7FFF), array.view(np.uint16))


def test_conversions_round_as_numpy_and_ml_dtypes_do(kernels):
    draw = np.random.default_rng(0)
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[1:] + halves[:-1]) / 2
    x = np.concatenate([
        draw.integers(0, 2**32, 60000, dtype=np.uint32).view(np.float32),
        (draw.normal(size=20000) * 2.0 ** draw.integers(-30, 20, 20000)).astype(np.float32),
        (draw.integers(0, 2**16, 20000, dtype=np.uint32) << 16 | 0x8000).view(np.float32),  # ties of bfloat16
        halves, -ties, ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1e9)),
        np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.996, 65520, 2.0**-24, 2.0**-25, 3.4e38, 1e-45]),
    ])  # fmt: skip
    h, b = np.zeros(len(x), np.float16), np.zeros(len(x), ml_dtypes.bfloat16)
    launch(kernels, "narrow", len(x), x, h, b)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.array_equal(bits_of(h), bits_of(x.astype(np.float16)))
        assert np.array_equal(bits_of(b), bits_of(x.astype(ml_dtypes.bfloat16)))


def test_every_half_and_bfloat16_widens_exactly(kernels):
    patterns = np.arange(2**16, dtype=np.uint16)
    h, b = patterns.view(np.float16), patterns.view(ml_dtypes.bfloat16)
    x, y = np.zeros(2**16, np.float32), np.zeros(2**16, np.float32)
    launch(kernels, "widen", 2**16, h, b, x, y)
    assert np.array_equal(x, h.astype(np.float32), equal_nan=True)
    assert np.array_equal(y, b.astype(np.float32), equal_nan=True)
    assert np.array_equal(np.signbit(x[~np.isnan(x)]), np.signbit(h[~np.isnan(h)]))


@pytest.mark.parametrize(("entry", "dtype"), KINDS)
def test_narrow_arithmetic_rounds_once(kernels, entry, dtype):
    draw, n = np.random.default_rng(7), 5000
    a, b, c = ((draw.normal(size=n) * 2.0 ** draw.integers(-6, 7, n)).astype(dtype) for _ in range(3))
    c[::2] = (-(a[::2].astype(float) * b[::2].astype(float))).astype(dtype)  # a second rounding would show
    y = np.zeros((7, n), dtype)
    launch(kernels, entry, n, a, b, c, y)
    x, z, w = (v.astype(np.float64) for v in (a, b, c))
    with np.errstate(invalid="ignore", over="ignore"):
        exact = [x + z, x * z, x * z + w, np.exp2(x), 1 / x, np.sqrt(x), np.maximum(x, z)]
        for got, value in zip(y, exact, strict=True):
            assert np.array_equal(bits_of(got), bits_of(value.astype(dtype)))


@pytest.mark.parametrize(
    ("entry", "dtype", "operands", "expected"),
    [
        # The product is a tie, and the addend, far below it, breaks the tie away from even.
        ("half_arithmetic", np.float16, (3, 683, 2.0**-24), 2050),
        ("bf16_arithmetic", ml_dtypes.bfloat16, (7, 37, -(2.0**-100)), 258),
        ("bf16_arithmetic", ml_dtypes.bfloat16, (9, 29, 2.0**-100), 262),
        ("bf16_arithmetic", ml_dtypes.bfloat16, (-9, 29, -(2.0**-100)), -262),
    ],
)
def test_a_fused_multiply_add_sees_an_addend_below_a_doubles_last_bit(kernels, entry, dtype, operands, expected):
    y = np.zeros((7, 1), dtype)
    launch(kernels, entry, 1, *(np.array([v], dtype) for v in operands), y)
    assert float(y[2, 0]) == expected


def test_pairs_work_element_by_element(kernels):
    draw = np.random.default_rng(3)
    a, b = (draw.normal(size=(300, 2)).astype(np.float16) for _ in range(2))
    p = draw.normal(size=(300, 2)).astype(ml_dtypes.bfloat16)
    y, q = np.zeros_like(a), np.zeros_like(p)
    launch(kernels, "pairs", 300, a, b, y, p, q)
    assert np.array_equal(y, (a.astype(float) * b.astype(float) + a.astype(float)).astype(np.float16))
    power = np.exp2(p.astype(float)).astype(ml_dtypes.bfloat16)
    assert np.array_equal(q, (p.astype(np.float32) + power.astype(np.float32)).astype(ml_dtypes.bfloat16))


def signed(value, width):
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


def parts(value, *, sign):
    return [signed(value >> s, 8) if sign else value >> s & 255 for s in (0, 8, 16, 24)]


def packed(values):
    return sum((v & 255) << 8 * i for i, v in enumerate(values))


def expected_bits(a, b):
    ten = bytes([*a.to_bytes(4, "little"), *b.to_bytes(4, "little")])
    sa, sb = signed(a, 32), signed(b, 32)
    shift = b & 31
    values = [
        32 - a.bit_length(),
        a.bit_count(),
        (a & -a).bit_length(),
        int(f"{a:032b}"[::-1], 2),
        int.from_bytes([ten[3], ten[6], ten[1], ten[4]], "little"),
        signed(a, 24) * signed(b, 24),
        a * b >> 32,
        sa * sb >> 32,
        7 + sum(x * y for x, y in zip(parts(a, sign=True), parts(b, sign=True), strict=True)),
        7 + sum(x * y for x, y in zip(parts(a, sign=False), parts(b, sign=False), strict=True)),
        (b << 32 | a) >> shift,
        packed([max(-128, min(127, x - y)) for x, y in zip(parts(a, sign=True), parts(b, sign=True), strict=True)]),
        packed([255 * (x != y) for x, y in zip(parts(a, sign=False), parts(b, sign=False), strict=True)]),
        abs(a - b) + 1,
        min(sa, sb),
        max(a, b),
    ]
    return [v & 0xFFFFFFFF for v in values]


def test_integer_intrinsics(kernels):
    draw = np.random.default_rng(11)
    x, y = (draw.integers(0, 2**32, 500, dtype=np.uint32) for _ in range(2))
    x[:4], y[:4] = [0, 1, 0x80000000, 0xFFFFFFFF], [0, 0xFFFFFFFF, 0x80000000, 0x7F80FF01]
    y[4:20] = x[4:20] ^ 0xFF00
    got = np.zeros((500, 16), np.uint32)
    launch(kernels, "bits", 500, x, y, got)
    assert got.tolist() == [expected_bits(int(a), int(b)) for a, b in zip(x, y, strict=True)]


def test_float_intrinsics(kernels):
    draw = np.random.default_rng(12)
    x, y = ((draw.normal(size=800) * 4).astype(np.float32) for _ in range(2))
    x[0], y[0], y[1] = np.nan, 1.0, np.nan
    got = np.zeros((800, 14), np.float32)
    launch(kernels, "floats", 800, x, y, got)
    a, b = x.astype(np.float64), y.astype(np.float64)
    approximate = {
        0: np.exp(a), 1: np.log(np.abs(a)), 2: np.exp2(a), 3: 1 / np.sqrt(np.abs(a)), 11: np.abs(a) ** b,
        12: np.tanh(a),
    }  # fmt: skip
    for column, value in approximate.items():
        np.testing.assert_allclose(got[:, column], value, rtol=2e-5, atol=1e-6)
    exact = {
        4: np.float32(1) / x, 5: x / y, 6: (a * b + a).astype(np.float32), 7: x * y + x, 8: np.fmax(x, y),
        9: np.fmin(x, y),
        10: np.nan_to_num(np.clip(x, 0, 1), nan=0.0), 13: -x,
    }  # fmt: skip
    for column, value in exact.items():
        assert np.array_equal(got[:, column], value, equal_nan=True), column
    assert not np.array_equal(exact[6], exact[7]), "the sample must be able to tell a fused from a plain multiply-add"


def test_conversions_to_integers_saturate(kernels):
    x = np.float32([0.5, 1.5, 2.5, -0.5, -1.7, 1e10, -1e10, np.nan, np.inf, 2147483520, -2147483648, 4294967040, 1e30])
    r, u, wide = np.zeros((len(x), 4), np.int32), np.zeros(len(x), np.uint32), np.zeros(len(x), np.int64)
    launch(kernels, "to_int", len(x), x, r, u, wide)

    def clamp(value, low, high, nan):
        return nan if math.isnan(value) else int(min(max(value, low), high))

    rounds = [np.rint, np.trunc, np.ceil, np.floor]
    assert r.tolist() == [[clamp(float(f(v)), -(2**31), 2**31 - 1, 0) for f in rounds] for v in x]
    assert u.tolist() == [clamp(float(np.rint(v)), 0, 2**32 - 1, 0) for v in x]
    assert wide.tolist() == [clamp(float(np.trunc(v)), -(2**63), 2**63 - 1, -(2**63)) for v in x]
