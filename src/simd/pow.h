// Power of floats, lane by lane in double: |a|^b = 2^(b log2 |a|), whose error of about 1e-13 is far below half an ulp
// of float. Fixed order of exactly rounded operations, so the same bits on every target. Special cases are those of C's
// pow.
#pragma once

#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

// log2 of a positive, finite double in the range of float.
inline double log2_double(double x) {
  int64_t bits;
  memcpy(&bits, &x, 8);
  constexpr int64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  int64_t shifted = bits - kSqrtHalf;
  auto e = static_cast<double>(shifted >> 52);
  int64_t mantissa = (shifted & 0xfffffffffffff) + kSqrtHalf;
  double m;
  memcpy(&m, &mantissa, 8);
  // log(m) = 2 atanh(s), s = (m - 1) / (m + 1) <= 0.172; the series' next term is below 2^-55.
  double s = (m - 1.0) / (m + 1.0), z = s * s, sum = 0.0;
  for (int k = 21; k >= 3; k -= 2) sum = __builtin_fma(sum, z, 1.0 / k);
  double log_m = 2.0 * __builtin_fma(sum * z, s, s);
  return __builtin_fma(log_m, 1.4426950408889634, e);
}

// 2^t for |t| <= 1000.
inline double exp2_double(double t) {
  double n = (t + 0x1.8p52) - 0x1.8p52;  // nearest integer
  double x = (t - n) * 0.6931471805599453;
  double sum = 1.0;  // Taylor: |x| <= 0.347, the next term is below 2^-54
  for (int k = 13; k >= 1; --k) sum = __builtin_fma(sum, x / k, 1.0);
  int64_t bits = (static_cast<int64_t>(n) + 1023) << 52;
  double power;
  memcpy(&power, &bits, 8);
  return sum * power;
}

inline float pow_lane(float a, float b) {
  if (b == 2.0f) return a * a;
  if (b == 0.0f || a == 1.0f) return 1.0f;
  if (a != a || b != b) return a + b;
  float magnitude = __builtin_fabsf(a), exponent = __builtin_fabsf(b);
  bool integral = exponent >= 0x1p23f || (exponent + 0x1p23f) - 0x1p23f == exponent;
  bool odd = integral && exponent < 0x1p24f && (static_cast<int32_t>(exponent) & 1);
  constexpr float kInfinity = __builtin_inff();
  float result;
  if (exponent == kInfinity) {
    result = magnitude == 1.0f ? 1.0f : (magnitude > 1.0f) == (b > 0) ? kInfinity : 0.0f;
  } else if (magnitude == 0.0f || magnitude == kInfinity) {
    result = (magnitude == 0.0f) == (b > 0) ? 0.0f : kInfinity;
  } else if (a < 0 && !integral) {
    return __builtin_nanf("");
  } else {
    double t = static_cast<double>(b) * log2_double(magnitude);
    t = t > 200.0 ? 200.0 : t < -200.0 ? -200.0 : t;
    result = static_cast<float>(exp2_double(t));
  }
  return odd && __builtin_signbit(a) ? -result : result;
}

inline F32 pow(F32 a, F32 b) {
  alignas(64) float x[16], y[16];
  store(x, a);
  store(y, b);
  for (int i = 0; i < 16; ++i) x[i] = pow_lane(x[i], y[i]);
  return load(x);
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
