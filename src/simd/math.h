// Elementary functions over F32 (simd/vec.h): the same bits on every target, because each is a fixed sequence of
// exactly rounded operations. Polynomials are minimax fits of our own (Remez); errors below are against exact values,
// in units in the last place of the result, and are checked by math_test.cc over random and edge values.
//
//   exp                1.1 ulp, overflow to infinity and gradual underflow included
//   expm1_nonpositive  1 ulp for x <= 0; x > 0 is taken as 0
//   log                0.8 ulp; log(0) = -inf, log(x < 0) = NaN; subnormals included
//   log1p_unit         1.3 ulp for 0 <= y <= 1
//   erf 1.3 ulp        tanh 1.4 ulp        sigmoid 2.3 ulp down to subnormals
//   gelu               2.3e-7 |x|          gelu_coarse 1.3e-4, and exactly 0 or x from |x| = 4 on
//   tanh_coarse        9.5e-5, exactly -1 or 1 from |x| = 5 on; sigmoid_coarse 4.8e-5, exactly 0 or 1 from 10 on
//   gelu_tanh, silu, softplus, mish, ...: the formula beside each; rounding of each step applies.
#pragma once

#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

// c0 + x * (c1 + x * (...)), by fma from the highest coefficient down.
template <typename... Rest>
inline F32 poly(F32 x, float c0, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) {
    return set(c0);
  } else {
    return fma(poly(x, rest...), x, set(c0));
  }
}

// x = n * ln2 + r with |r| <= ln2 / 2 (a little more by rounding). The high part of ln2 has 15 bits, so n * high is
// exact.
inline F32 reduce_ln2(F32 x, F32* n) {
  *n = round_even(x * set(0x1.715476p+0f));
  F32 r = fnma(*n, set(0x1.62e4p-1f), x);
  return fnma(*n, set(0x1.7f7d1cp-20f), r);
}
// exp(r) - 1 on the reduced range.
inline F32 expm1_reduced(F32 r) {
  F32 q = poly(r, 0x1.fffffcp-2f, 0x1.555490p-3f, 0x1.5558f4p-5f, 0x1.123a6cp-7f, 0x1.6a2352p-10f);
  return fma(q, r * r, r);
}

inline F32 exp(F32 x) {
  // Beyond these bounds the result is 0 or infinity anyhow. NaN is the second operand and passes.
  x = max(set(-104.0f), min(set(89.0f), x));
  F32 n;
  F32 r = reduce_ln2(x, &n);
  return scale_by_power(set(1.0f) + expm1_reduced(r), n);
}

// exp(x) for x <= 0, and 0 below -80: for weights that are normalized later. Without subnormals, each of which costs
// Intel CPUs 150 cycles: with scores far apart or masked, softmax took ten times as long.
inline F32 exp_weight(F32 x) {
  F32 n;
  F32 r = reduce_ln2(max(set(-80.0f), x), &n);
  F32 e = scale_by_power(set(1.0f) + expm1_reduced(r), n);
  return select(x < set(-80.0f), zero(), e);
}

inline F32 expm1_nonpositive(F32 x) {
  x = max(set(-30.0f), min(zero(), x));
  F32 n;
  F32 r = reduce_ln2(x, &n);
  F32 s = scale_by_power(set(1.0f), n);
  return fma(s, expm1_reduced(r), s - set(1.0f));
}

inline F32 log(F32 x) {
  // Subnormals are scaled into the normal range first.
  Mask small = x < set(0x1p-126f);
  F32 scaled = select(small, x * set(0x1p23f), x);
  I32 bits = bitcast_int(scaled);
  // The exponent is chosen so that the mantissa m lies in [sqrt(1/2), sqrt(2)).
  I32 shifted = bits - set_int(0x3f3504f3);
  F32 e = to_float(shift_right<23>(shifted)) - select(small, set(23.0f), zero());
  F32 f = bitcast_float((shifted & set_int(0x7fffff)) + set_int(0x3f3504f3)) - set(1.0f);
  F32 p = poly(f, 0x1.555546p-2f, -0x1.ffffeep-3f, 0x1.99a546p-3f, -0x1.5562dep-3f, 0x1.2332a6p-3f, -0x1.fb43c8p-4f,
               0x1.e652d0p-4f, -0x1.e2e698p-4f, 0x1.1b39b4p-4f);
  // log(1 + f) = f - f^2 / 2 + f^3 p, smallest terms first.
  F32 f2 = f * f;
  F32 y = fma(p * f, f2, e * set(0x1.7f7d1cp-20f));
  y = fnma(set(0.5f), f2, y);
  y = fma(e, set(0x1.62e4p-1f), f + y);
  F32 infinity = set(__builtin_inff());
  y = select(x == infinity, infinity, y);
  y = select(x == zero(), neg(infinity), y);
  return select((x < zero()) | is_nan(x), set(__builtin_nanf("")), y);
}

// log(1 + y) for 0 <= y <= 1: the part of y that 1 + y rounds away is added back to first order.
inline F32 log1p_unit(F32 y) {
  F32 u = set(1.0f) + y;
  F32 lost = y - (u - set(1.0f));
  return log(u) + lost / u;
}

inline F32 erf(F32 x) {
  F32 a = abs(x);
  // Below 1: x + x * p(x^2). From 1: 1 - exp(q(|x|)), q fitted to log(erfc); from 4 on that is 1.
  F32 small = fma(poly(x * x, 0x1.06eba8p-3f, -0x1.81273ep-2f, 0x1.ce2d20p-4f, -0x1.b7fbb4p-6f, 0x1.5419f6p-8f,
                       -0x1.a485ecp-11f, 0x1.4ae4d2p-14f),
                  x, x);
  F32 b = min(set(4.0f), a);
  F32 q = poly(b, 0x1.8b3f28p-13f, -0x1.212c2cp+0f, -0x1.4434f0p-1f, -0x1.bc18d0p-4f, 0x1.9d0bd6p-6f, -0x1.1398fap-8f,
               0x1.ceeaeep-12f, -0x1.6c0690p-16f);
  F32 n;
  F32 r = reduce_ln2(q, &n);
  F32 large = set(1.0f) - scale_by_power(set(1.0f) + expm1_reduced(r), n);
  return select(a < set(1.0f), small, copysign(large, x));
}

inline F32 tanh(F32 x) {
  F32 a = abs(x);
  F32 z = x * x;
  F32 small = fma(z * poly(z, -0x1.555534p-2f, 0x1.110768p-3f, -0x1.b84448p-5f, 0x1.5256d8p-6f, -0x1.76ac1ap-8f), x, x);
  // From 0.625: 1 - 2 / (exp(2|x|) + 1); from 10 on that is 1.
  F32 e = exp(min(set(20.0f), a + a));
  F32 large = set(1.0f) - set(2.0f) / (e + set(1.0f));
  return select(a < set(0.625f), small, copysign(large, x));
}

// 1 / (1 + exp(-x)), through exp(-|x|) so that neither side overflows.
inline F32 sigmoid(F32 x) {
  F32 e = exp(neg(abs(x)));
  return select(x < zero(), e, set(1.0f)) / (set(1.0f) + e);
}

// x * 0.5 * (1 + erf(x / sqrt(2))), erf(x / sqrt(2)) being x p(x^2) / q(x^2), a fit of ours with the least relative
// error up to 5.8, from where on it is 1 in f32. A third of the instructions of erf, and two short chains where that
// has a long one: in the epilogue of MiniLM's layers on Zen 3, 0.5 ns instead of 1.4 for each value.
inline F32 gelu_erf(F32 x) {
  F32 a = max(set(-5.8f), min(set(5.8f), x));
  F32 t = a * a;
  F32 p = poly(t, 0x1.988456p-1f, 0x1.fef0a4p-5f, 0x1.25a704p-7f, 0x1.216d62p-12f, 0x1.861e64p-17f, 0x1.85982cp-25f);
  F32 q = poly(t, 1.0f, 0x1.f56d78p-3f, 0x1.baf41cp-6f, 0x1.bff70ap-10f, 0x1.0492f6p-14f, 0x1.365804p-20f);
  return max(set(-1.0f), min(set(1.0f), (a * p) / q));
}
inline F32 gelu(F32 x) { return (x * set(0.5f)) * (set(1.0f) + gelu_erf(x)); }
// The functions below are for values that become 8 bits soon, whose steps are far larger than the errors: polynomials
// for each half of a unit up to 4 of their argument, from tables of eight. They neither divide nor wait long for
// anything.

// Which half 0 <= a < 4 lies in, in the lowest three bits: beside 3 * 2^21 a float's last bit is worth 0.5.
inline I32 half_of(F32 a) { return bitcast_int((a - set(0.25F)) + set(0x1.8p22F)); }

// max(x, 0) minus |x| Phi(-|x|), of which each half has a cubic; the last is a line that ends at 0 in every bit. A
// third of the instructions of gelu.
inline F32 gelu_coarse(F32 x) {
  alignas(32) static constexpr float k0[] = {0.0F,
                                             0x1.85eba4p-8F,
                                             -0x1.44c372p-5F,
                                             -0x1.1333fap-2F,
                                             -0x1.14da5ap-1F,
                                             -0x1.224b54p-1F,
                                             -0x1.762b20p-2F,
                                             -0x1.6fe900p-8F};
  alignas(32) static constexpr float k1[] = {-0x1.00aff8p-1F, -0x1.1471aep-1F, -0x1.a8820cp-2F, 0x1.549b76p-5F,
                                             0x1.d49b84p-2F,  0x1.fb57e2p-2F,  0x1.2da7eap-2F,  0x1.700000p-10F};
  alignas(32) static constexpr float k2[] = {0x1.a9a5a0p-2F,  0x1.015daep-1F,  0x1.8d0126p-2F,  0x1.56b51cp-4F,
                                             -0x1.081c2ap-3F, -0x1.2c6282p-3F, -0x1.473562p-4F, 0.0F};
  alignas(32) static constexpr float k3[] = {-0x1.ea6180p-5F, -0x1.04cad4p-3F, -0x1.7985fap-4F, -0x1.8e869ep-6F,
                                             0x1.88756ep-7F,  0x1.e15b58p-7F,  0x1.dd1888p-8F,  0.0F};
  F32 a = min(set(4.0F - 0x1p-10F), abs(x));
  const I32 piece = half_of(a);
  F32 p = fma(a, lookup8(k3, piece), lookup8(k2, piece));
  p = fma(a, fma(a, p, lookup8(k1, piece)), lookup8(k0, piece));
  return max(zero(), x) + p;
}
// tanh(1.25 a), a >= 0; the last half is a line that ends at 1 in every bit.
inline F32 tanh_pieces(F32 a) {
  alignas(32) static constexpr float k0[] = {0.0F,           -0x1.10ebc8p-5F, -0x1.3a4a6ap-3F, 0x1.984cc6p-10F,
                                             0x1.5a804ap-2F, 0x1.419b9ep-1F,  0x1.9f84bep-1F,  0x1.ff0100p-1F};
  alignas(32) static constexpr float k1[] = {0x1.3fcec0p+0F, 0x1.78dcb8p+0F, 0x1.fdcb94p+0F, 0x1.98491ap+0F,
                                             0x1.d4a650p-1F, 0x1.c86cacp-2F, 0x1.95b9a2p-3F, 0x1p-11F};
  alignas(32) static constexpr float k2[] = {0x1.120092p-6F,  -0x1.13c0aap-1F, -0x1.634d40p+0F, -0x1.01b43cp+0F,
                                             -0x1.f6aca0p-2F, -0x1.a3a6f0p-3F, -0x1.451e42p-4F, 0.0F};
  alignas(32) static constexpr float k3[] = {-0x1.8a29a6p-1F, -0x1.504bc8p-3F, 0x1.d50d1ep-2F, 0x1.2dd182p-2F,
                                             0x1.ec614cp-4F,  0x1.5d6488p-5F,  0x1.d57872p-7F, 0.0F};
  alignas(32) static constexpr float k4[] = {0x1.68b24ep-2F,  0x1.cbe352p-4F,  -0x1.e9e6b4p-5F,  -0x1.126f4ap-5F,
                                             -0x1.71bd00p-7F, -0x1.bb14cep-9F, -0x1.01208ep-10F, 0.0F};
  a = min(set(4.0F - 0x1p-6F), a);
  const I32 piece = half_of(a);
  F32 p = fma(a, lookup8(k4, piece), lookup8(k3, piece));
  p = fma(a, p, lookup8(k2, piece));
  p = fma(a, p, lookup8(k1, piece));
  return fma(a, p, lookup8(k0, piece));
}
inline F32 tanh_coarse(F32 x) { return copysign(tanh_pieces(abs(x) * set(0.8F)), x); }
// 0.5 + 0.5 tanh(x / 2)
inline F32 sigmoid_coarse(F32 x) { return fma(copysign(tanh_pieces(abs(x) * set(0.4F)), x), set(0.5F), set(0.5F)); }
// 0.5 (1 + erf(x / sqrt 2)) + x exp(-x^2 / 2) / sqrt(2 pi); beyond 13 the last term is 0.
inline F32 gelu_derivative(F32 x) {
  F32 b = max(set(-13.0f), min(set(13.0f), x));
  F32 density = exp_weight(b * b * set(-0.5f)) * set(0x1.988454p-2f);
  return fma(b, density, set(0.5f) * (set(1.0f) + gelu_erf(x)));
}
// x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
inline F32 gelu_tanh(F32 x) {
  F32 inner = fma(set(0.044715f) * x, x * x, x);
  return (x * set(0.5f)) * (set(1.0f) + tanh(set(0x1.988454p-1f) * inner));
}
// With t the tanh above: 0.5 (1 + t) + 0.5 x (1 - t^2) sqrt(2 / pi) (1 + 3 * 0.044715 x^2); beyond 10 t is 1.
inline F32 gelu_tanh_derivative(F32 x) {
  F32 b = max(set(-10.0f), min(set(10.0f), x));
  F32 square = b * b;
  F32 t = tanh(set(0x1.988454p-1f) * fma(set(0.044715f) * b, square, b));
  F32 slope = set(0x1.988454p-1f) * fma(set(0.134145f), square, set(1.0f));
  return fma((b * set(0.5f)) * fnma(t, t, set(1.0f)), slope, set(0.5f) * (set(1.0f) + t));
}
inline F32 silu(F32 x) { return x * sigmoid(x); }
// max(0, min(1, alpha * x + beta))
inline F32 hard_sigmoid(F32 x, float alpha, float beta) {
  return max(zero(), min(set(1.0f), fma(set(alpha), x, set(beta))));
}
// x * (clamp(x + 3, 0, 6) * (1/6))
inline F32 hard_swish(F32 x) { return x * (max(zero(), min(set(6.0f), x + set(3.0f))) * set(0x1.555556p-3f)); }
// log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))
inline F32 softplus(F32 x) { return max(zero(), x) + log1p_unit(exp(neg(abs(x)))); }
// x * tanh(softplus(x)) = x * w / (w + 2) with w = e^2 + 2 e, e = exp(x); the quotient is 1 from x = 20 on.
inline F32 mish(F32 x) {
  F32 e = exp(min(set(20.0f), x));
  F32 w = e * (e + set(2.0f));
  return x * (w / (w + set(2.0f)));
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
