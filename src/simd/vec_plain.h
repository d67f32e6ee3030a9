// The vectors of simd/vec.h in plain C++, for the scalar and emu512 targets and for references.
#pragma once

#include <cstdint>
#include <cstring>

namespace lowp::LOWP_TARGET {
namespace {

struct F32 {
  float v[16];
};
struct I32 {
  int32_t v[16];
};
struct Mask {
  bool v[16];
};

#define LOWP_EACH for (int i = 0; i < 16; ++i)

inline F32 set(float a) {
  F32 r;
  LOWP_EACH r.v[i] = a;
  return r;
}
inline I32 set_int(int32_t a) {
  I32 r;
  LOWP_EACH r.v[i] = a;
  return r;
}
inline F32 zero() { return set(0.0f); }
inline float first(F32 a) { return a.v[0]; }

inline F32 load(const float* p) {
  F32 r;
  LOWP_EACH r.v[i] = p[i];
  return r;
}
inline F32 load_n(const float* p, int n) {
  if (n == 16) return load(p);
  F32 r;
  LOWP_EACH r.v[i] = i < n ? p[i] : 0.0f;
  return r;
}
inline void store(float* p, F32 a) { LOWP_EACH p[i] = a.v[i]; }
inline void store_n(float* p, F32 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}

inline F32 lookup8(const float* table, I32 index) {
  F32 r;
  LOWP_EACH r.v[i] = table[index.v[i] & 7];
  return r;
}

#define LOWP_PLAIN_LOAD(name, type)           \
  inline I32 name(const type* p) {            \
    I32 r;                                    \
    LOWP_EACH r.v[i] = p[i];                  \
    return r;                                 \
  }                                           \
  inline I32 name##_n(const type* p, int n) { \
    I32 r;                                    \
    LOWP_EACH r.v[i] = i < n ? p[i] : 0;      \
    return r;                                 \
  }
LOWP_PLAIN_LOAD(load_int, int32_t)
LOWP_PLAIN_LOAD(load_u8, uint8_t)
LOWP_PLAIN_LOAD(load_s8, int8_t)  // NOLINT(bugprone-signed-char-misuse): values, not characters
LOWP_PLAIN_LOAD(load_u16, uint16_t)
#undef LOWP_PLAIN_LOAD

inline void store_int_n(int32_t* p, I32 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
inline void store_int(int32_t* p, I32 a) { store_int_n(p, a, 16); }
inline void store_u16_n(uint16_t* p, I32 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = static_cast<uint16_t>(a.v[i]);
}
inline void store_u16(uint16_t* p, I32 a) { store_u16_n(p, a, 16); }
// Saturating.
inline void store_u8_n(uint8_t* p, I32 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = static_cast<uint8_t>(a.v[i] < 0 ? 0 : a.v[i] > 255 ? 255 : a.v[i]);
}
inline void store_u8(uint8_t* p, I32 a) { store_u8_n(p, a, 16); }
inline void store_s8_n(int8_t* p, I32 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = static_cast<int8_t>(a.v[i] < -128 ? -128 : a.v[i] > 127 ? 127 : a.v[i]);
}
inline void store_s8(int8_t* p, I32 a) { store_s8_n(p, a, 16); }

#define LOWP_PLAIN_FLOAT(op)             \
  inline F32 operator op(F32 a, F32 b) { \
    LOWP_EACH a.v[i] = a.v[i] op b.v[i]; \
    return a;                            \
  }
LOWP_PLAIN_FLOAT(+)
LOWP_PLAIN_FLOAT(-)
LOWP_PLAIN_FLOAT(*)
LOWP_PLAIN_FLOAT(/)
#undef LOWP_PLAIN_FLOAT

inline F32 fma(F32 a, F32 b, F32 c) {
  LOWP_EACH c.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  return c;
}
inline void fma_into(F32& acc, F32 a, F32 b) { acc = fma(a, b, acc); }
inline F32 fnma(F32 a, F32 b, F32 c) {
  LOWP_EACH c.v[i] = __builtin_fmaf(-a.v[i], b.v[i], c.v[i]);
  return c;
}
inline F32 min(F32 a, F32 b) {
  LOWP_EACH b.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return b;
}
inline F32 max(F32 a, F32 b) {
  LOWP_EACH b.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return b;
}
inline F32 min_nan(F32 a, F32 b) {
  LOWP_EACH b.v[i] = a.v[i] != a.v[i] ? a.v[i] : a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return b;
}
inline F32 max_nan(F32 a, F32 b) {
  LOWP_EACH b.v[i] = a.v[i] != a.v[i] ? a.v[i] : a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return b;
}
inline F32 sqrt(F32 a) {
  LOWP_EACH a.v[i] = __builtin_sqrtf(a.v[i]);
  return a;
}
// Adding and subtracting 2^23 rounds to nearest even; from 2^23 on every float is integral.
inline F32 round_even(F32 a) {
  LOWP_EACH {
    float x = a.v[i], m = __builtin_fabsf(x);
    if (m < 0x1p23f) a.v[i] = __builtin_copysignf((m + 0x1p23f) - 0x1p23f, x);
  }
  return a;
}
inline F32 floor(F32 a) {
  F32 r = round_even(a);
  LOWP_EACH {
    float x = r.v[i] > a.v[i] ? r.v[i] - 1.0f : r.v[i];
    r.v[i] = __builtin_copysignf(x, a.v[i]);
  }
  return r;
}
inline F32 ceil(F32 a) {
  F32 r = round_even(a);
  LOWP_EACH {
    float x = r.v[i] < a.v[i] ? r.v[i] + 1.0f : r.v[i];
    r.v[i] = __builtin_copysignf(x, a.v[i]);
  }
  return r;
}

#define LOWP_PLAIN_COMPARE(op)            \
  inline Mask operator op(F32 a, F32 b) { \
    Mask m;                               \
    LOWP_EACH m.v[i] = a.v[i] op b.v[i];  \
    return m;                             \
  }
LOWP_PLAIN_COMPARE(<)
LOWP_PLAIN_COMPARE(<=)
LOWP_PLAIN_COMPARE(>)
LOWP_PLAIN_COMPARE(>=)
LOWP_PLAIN_COMPARE(==)
LOWP_PLAIN_COMPARE(!=)
#undef LOWP_PLAIN_COMPARE

inline Mask operator&(Mask a, Mask b) {
  LOWP_EACH a.v[i] = a.v[i] && b.v[i];
  return a;
}
inline Mask operator|(Mask a, Mask b) {
  LOWP_EACH a.v[i] = a.v[i] || b.v[i];
  return a;
}
inline F32 select(Mask m, F32 yes, F32 no) {
  LOWP_EACH no.v[i] = m.v[i] ? yes.v[i] : no.v[i];
  return no;
}
inline I32 select(Mask m, I32 yes, I32 no) {
  LOWP_EACH no.v[i] = m.v[i] ? yes.v[i] : no.v[i];
  return no;
}
inline Mask first_lanes(int n) {
  Mask m;
  LOWP_EACH m.v[i] = i < n;
  return m;
}

// Two's complement, wrapping.
#define LOWP_PLAIN_INT(op)                                                                                   \
  inline I32 operator op(I32 a, I32 b) {                                                                     \
    LOWP_EACH a.v[i] = static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) op static_cast<uint32_t>(b.v[i])); \
    return a;                                                                                                \
  }
LOWP_PLAIN_INT(+)
LOWP_PLAIN_INT(-)
LOWP_PLAIN_INT(*)
LOWP_PLAIN_INT(&)
LOWP_PLAIN_INT(|)
LOWP_PLAIN_INT(^)
#undef LOWP_PLAIN_INT

inline Mask equal(I32 a, I32 b) {
  Mask m;
  LOWP_EACH m.v[i] = a.v[i] == b.v[i];
  return m;
}
inline I32 min(I32 a, I32 b) {
  LOWP_EACH b.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return b;
}
inline I32 max(I32 a, I32 b) {
  LOWP_EACH b.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return b;
}
template <int kBits>
inline I32 shift_left(I32 a) {
  LOWP_EACH a.v[i] = static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << kBits);
  return a;
}
template <int kBits>
inline I32 shift_right(I32 a) {
  LOWP_EACH a.v[i] = a.v[i] >> kBits;
  return a;
}
template <int kBits>
inline I32 shift_right_logical(I32 a) {
  LOWP_EACH a.v[i] = static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) >> kBits);
  return a;
}

inline I32 bitcast_int(F32 a) {
  I32 r;
  memcpy(&r, &a, sizeof r);
  return r;
}
inline F32 bitcast_float(I32 a) {
  F32 r;
  memcpy(&r, &a, sizeof r);
  return r;
}
inline F32 to_float(I32 a) {
  F32 r;
  LOWP_EACH r.v[i] = static_cast<float>(a.v[i]);
  return r;
}
inline I32 to_int(F32 a) {
  F32 rounded = round_even(a);
  I32 r;
  LOWP_EACH {
    float x = rounded.v[i];
    r.v[i] = x >= -0x1p31f && x < 0x1p31f ? static_cast<int32_t>(x) : INT32_MIN;
  }
  return r;
}
// a * 2^n for integral n in [-252, 252] and 0.5 < |a| < 2, rounded once; a may be NaN.
inline F32 scale_by_power(F32 a, F32 n) {
  I32 whole = to_int(n);
  I32 half = shift_right<1>(whole);
  I32 rest = whole - half;
  I32 bias = set_int(127);
  return a * bitcast_float(shift_left<23>(half + bias)) * bitcast_float(shift_left<23>(rest + bias));
}

// Lane l of the result is lane l + kDistance, for l < kDistance; the lanes beyond are unspecified.
template <int kDistance>
inline F32 rotate_half(F32 a) {
  for (int i = 0; i < kDistance; ++i) a.v[i] = a.v[i + kDistance];
  return a;
}

// y[c * 16 + r] = x[r * stride + c] for a 16 x 16 block.
inline void transpose_16x16(const float* x, int64_t stride, float* y) {
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 16; ++c) y[c * 16 + r] = x[r * stride + c];
  }
}

// IEEE half precision bits; conversion to it rounds to nearest even.
inline F32 load_f16_n(const uint16_t* p, int n) {
  F32 r;
  LOWP_EACH {
    uint32_t h = i < n ? p[i] : 0;
    uint32_t sign = (h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
    uint32_t bits;
    memcpy(&bits, &subnormal, 4);
    if (magnitude >= 0x400u) bits = (magnitude << 13) + 0x38000000u;
    if (magnitude >= 0x7c00u) bits = 0x7f800000u | ((magnitude & 0x3ffu) << 13);
    bits |= sign;
    memcpy(&r.v[i], &bits, 4);
  }
  return r;
}
inline F32 load_f16(const uint16_t* p) { return load_f16_n(p, 16); }
inline void store_f16_n(uint16_t* p, F32 a, int n) {
  for (int i = 0; i < n; ++i) {
    uint32_t u;
    memcpy(&u, &a.v[i], 4);
    uint32_t sign = (u >> 16) & 0x8000u, half;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) {
      half = 0x7e00u | ((u >> 13) & 0x3ffu);
    } else if (u >= 0x477ff000u) {  // 65520 and above round to infinity
      half = 0x7c00u;
    } else if (u < 0x38800000u) {
      // Below 2^-14: adding 0.5 leaves the subnormal, rounded to nearest even, in the low mantissa.
      float f;
      memcpy(&f, &u, 4);
      f += 0.5f;
      memcpy(&half, &f, 4);
      half -= 0x3f000000u;
    } else {
      half = (u + 0xc8000fffu + ((u >> 13) & 1u)) >> 13;
    }
    p[i] = static_cast<uint16_t>(sign | half);
  }
}
inline void store_f16(uint16_t* p, F32 a) { store_f16_n(p, a, 16); }

#undef LOWP_EACH

}  // namespace
}  // namespace lowp::LOWP_TARGET
