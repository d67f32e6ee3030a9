// Vectors for kernel translation units: 16 float lanes (F32), 16 int32 lanes (I32) and a lane mask (Mask) on every
// target.
//
// A vector has 16 lanes everywhere because the numeric contract has 16 virtual lanes (docs/numerics.md): an AVX-512
// target holds them in one register, AVX2 in two, the plain targets (scalar, emu512) in an array. A kernel is written
// once, and the order of its additions cannot depend on the target. Every operation is exactly rounded or exact, so the
// same source gives the same bits everywhere.
//
// Included by kernel files and their references only, with LOWP_TARGET defined. All of it is in lowp::<target> and an
// anonymous namespace, so that no weak symbol compiled for one instruction set can be linked into another.
//
// Semantics shared by the backends:
//   min(a, b), max(a, b)   a < b ? a : b and a > b ? a : b: the second operand where they are equal or either is NaN.
//                          max(lo, x) and min(hi, x) therefore propagate a NaN of x, as ONNX's Relu and Clip want.
//   min_nan, max_nan       NaN where either operand is NaN, as ONNX's Min and Max want.
//   fma(a, b, c)           a * b + c, rounded once.  fnma(a, b, c): c - a * b.
//   fma_into(acc, a, b)    acc = fma(a, b, acc), for the sums of inner loops.
//   round_even             to an integral value, ties to even.
//   to_int                 float to int32, ties to even; 0x80000000 where the value does not fit or is NaN.
//   lookup8(table, i)      table[i % 8] of 8 floats; `table` is aligned to 32 bytes.
//   load_n, store_n        the first n lanes, 0 <= n <= 16; lanes beyond are read as zero, never touched in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// For lambdas of inner loops: a body that is called for whole groups and for the tail is not inlined otherwise, and
// what it captures then lives in memory.
#define LOWP_INLINE __attribute__((always_inline))

#ifndef LOWP_TARGET
#error "simd/vec.h is for kernel files, which define LOWP_TARGET"
#endif

// clang-format off
#if defined(__AVX512F__)
#include "simd/vec_avx512.h"
#elif defined(__AVX2__)
#include "simd/vec_avx2.h"
#else
#include "simd/vec_plain.h"
#endif
// clang-format on

namespace lowp::LOWP_TARGET {
namespace {

constexpr int kLanes = 16;

// Lanes combined in the contract's tree: (l, l+8), (l, l+4), (l, l+2), (l, l+1).
template <typename Combine>
inline float reduce(F32 v, Combine combine) {
  v = combine(v, rotate_half<8>(v));
  v = combine(v, rotate_half<4>(v));
  v = combine(v, rotate_half<2>(v));
  v = combine(v, rotate_half<1>(v));
  return first(v);
}
inline float reduce_add(F32 v) {
  return reduce(v, [](F32 a, F32 b) { return a + b; });
}
inline float reduce_mul(F32 v) {
  return reduce(v, [](F32 a, F32 b) { return a * b; });
}
inline float reduce_max(F32 v) {
  return reduce(v, [](F32 a, F32 b) { return max(a, b); });
}
inline float reduce_min(F32 v) {
  return reduce(v, [](F32 a, F32 b) { return min(a, b); });
}
// NaN where any lane is NaN.
inline float reduce_max_nan(F32 v) {
  return reduce(v, [](F32 a, F32 b) { return max_nan(a, b); });
}
inline float reduce_min_nan(F32 v) {
  return reduce(v, [](F32 a, F32 b) { return min_nan(a, b); });
}

inline F32 neg(F32 a) { return bitcast_float(bitcast_int(a) ^ set_int(static_cast<int32_t>(0x80000000u))); }
inline F32 abs(F32 a) { return bitcast_float(bitcast_int(a) & set_int(0x7fffffff)); }
// |magnitude| with the sign of `sign`.
inline F32 copysign(F32 magnitude, F32 sign) {
  I32 bit = set_int(static_cast<int32_t>(0x80000000u));
  return bitcast_float((bitcast_int(magnitude) & set_int(0x7fffffff)) | (bitcast_int(sign) & bit));
}
inline Mask is_nan(F32 a) { return a != a; }

// bfloat16 bits of each lane, in the low 16 bits: to nearest even; NaN stays NaN.
inline I32 to_bf16_bits(F32 a) {
  I32 u = bitcast_int(a);
  I32 rounded = shift_right_logical<16>(u + set_int(0x7fff) + (shift_right_logical<16>(u) & set_int(1)));
  I32 quiet = shift_right_logical<16>(u) | set_int(0x40);
  return select(is_nan(a), quiet, rounded);
}
inline F32 from_bf16_bits(I32 bits) { return bitcast_float(shift_left<16>(bits)); }

inline F32 load_bf16(const uint16_t* p) { return from_bf16_bits(load_u16(p)); }
inline F32 load_bf16_n(const uint16_t* p, int n) { return from_bf16_bits(load_u16_n(p, n)); }
inline void store_bf16(uint16_t* p, F32 a) {
#if defined(__AVX512BF16__)
  if (store_bf16_without_subnormals(p, a)) [[likely]]
    return;
#endif
  store_u16(p, to_bf16_bits(a));
}
// 32 of them.
inline void store_bf16_pair(uint16_t* p, F32 a, F32 b) {
#if defined(__AVX512BF16__)
  if (store_bf16_without_subnormals(p, a, b)) [[likely]]
    return;
#endif
  store_u16(p, to_bf16_bits(a));
  store_u16(p + kLanes, to_bf16_bits(b));
}
inline void store_bf16_n(uint16_t* p, F32 a, int n) {
  if (n == kLanes) return store_bf16(p, a);
  store_u16_n(p, to_bf16_bits(a), n);
}

// Calls body(offset, n) for each group of up to 16 of [0, count): whole groups as body(i, 16) with a constant 16, so
// that after inlining load_n(p, 16) is a plain load.
template <typename Body>
[[gnu::always_inline]] inline void for_lanes(int64_t count, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, kLanes);
  if (i < count) body(i, static_cast<int>(count - i));
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
