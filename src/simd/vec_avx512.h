// The vectors of simd/vec.h in one AVX-512 register (F, BW, VL, DQ).
#pragma once

#include <immintrin.h>

namespace lowp::LOWP_TARGET {
namespace {

struct F32 {
  __m512 v;
};
struct I32 {
  __m512i v;
};
struct Mask {
  __mmask16 v;
};

inline F32 set(float a) { return {_mm512_set1_ps(a)}; }
inline I32 set_int(int32_t a) { return {_mm512_set1_epi32(a)}; }
inline F32 zero() { return {_mm512_setzero_ps()}; }
inline float first(F32 a) { return _mm512_cvtss_f32(a.v); }
inline __mmask16 lanes_mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline Mask first_lanes(int n) { return {lanes_mask(n)}; }

inline F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F32 load_n(const float* p, int n) {
  if (n == 16) return load(p);
  return {_mm512_maskz_loadu_ps(lanes_mask(n), p)};
}
inline void store(float* p, F32 a) { _mm512_storeu_ps(p, a.v); }
inline void store_n(float* p, F32 a, int n) {
  if (n == 16) return store(p, a);
  _mm512_mask_storeu_ps(p, lanes_mask(n), a.v);
}

// The instruction looks at four bits: the table stands there twice.
inline F32 lookup8(const float* table, I32 index) {
  return {_mm512_permutexvar_ps(index.v, _mm512_broadcast_f32x8(_mm256_load_ps(table)))};
}

inline I32 load_int(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
inline I32 load_int_n(const int32_t* p, int n) {
  if (n == 16) return load_int(p);
  return {_mm512_maskz_loadu_epi32(lanes_mask(n), p)};
}
inline void store_int(int32_t* p, I32 a) { _mm512_storeu_si512(p, a.v); }
inline void store_int_n(int32_t* p, I32 a, int n) {
  if (n == 16) return store_int(p, a);
  _mm512_mask_storeu_epi32(p, lanes_mask(n), a.v);
}

inline __m128i load_bytes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline I32 load_u8(const uint8_t* p) { return {_mm512_cvtepu8_epi32(load_bytes(p))}; }
inline I32 load_s8(const int8_t* p) { return {_mm512_cvtepi8_epi32(load_bytes(p))}; }
inline I32 load_u8_n(const uint8_t* p, int n) {
  if (n == 16) return load_u8(p);
  return {_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes_mask(n), p))};
}
inline I32 load_s8_n(const int8_t* p, int n) {
  if (n == 16) return load_s8(p);
  return {_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes_mask(n), p))};
}
inline I32 load_u16(const uint16_t* p) {
  return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline I32 load_u16_n(const uint16_t* p, int n) {
  if (n == 16) return load_u16(p);

  return {_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes_mask(n), p))};
}
inline void store_u16(uint16_t* p, I32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v));
}
inline void store_u16_n(uint16_t* p, I32 a, int n) {
  if (n == 16) return store_u16(p, a);

  _mm256_mask_storeu_epi16(p, lanes_mask(n), _mm512_cvtepi32_epi16(a.v));
}
// Saturating; vpmovusdb reads its source as unsigned, hence the max with zero.
inline __m128i saturate_u8(I32 a) { return _mm512_cvtusepi32_epi8(_mm512_max_epi32(a.v, _mm512_setzero_si512())); }
inline __m128i saturate_s8(I32 a) { return _mm512_cvtsepi32_epi8(a.v); }
inline void store_u8(uint8_t* p, I32 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), saturate_u8(a)); }
inline void store_s8(int8_t* p, I32 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), saturate_s8(a)); }
inline void store_u8_n(uint8_t* p, I32 a, int n) {
  if (n == 16) return store_u8(p, a);
  _mm_mask_storeu_epi8(p, lanes_mask(n), saturate_u8(a));
}
inline void store_s8_n(int8_t* p, I32 a, int n) {
  if (n == 16) return store_s8(p, a);
  _mm_mask_storeu_epi8(p, lanes_mask(n), saturate_s8(a));
}

inline F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline void fma_into(F32& acc, F32 a, F32 b) { acc = fma(a, b, acc); }
inline F32 fnma(F32 a, F32 b, F32 c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
inline F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32 min_nan(F32 a, F32 b) {
  return {_mm512_mask_mov_ps(_mm512_min_ps(a.v, b.v), _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q), a.v)};
}
inline F32 max_nan(F32 a, F32 b) {
  return {_mm512_mask_mov_ps(_mm512_max_ps(a.v, b.v), _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q), a.v)};
}
inline F32 sqrt(F32 a) { return {_mm512_sqrt_ps(a.v)}; }
inline F32 round_even(F32 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F32 floor(F32 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)}; }
inline F32 ceil(F32 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)}; }

inline Mask operator<(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask operator<=(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
inline Mask operator>(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
inline Mask operator>=(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
inline Mask operator==(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
inline Mask operator!=(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
inline Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.v & b.v)}; }
inline Mask operator|(Mask a, Mask b) { return {static_cast<__mmask16>(a.v | b.v)}; }
inline F32 select(Mask m, F32 yes, F32 no) { return {_mm512_mask_mov_ps(no.v, m.v, yes.v)}; }
inline I32 select(Mask m, I32 yes, I32 no) { return {_mm512_mask_mov_epi32(no.v, m.v, yes.v)}; }

inline I32 operator+(I32 a, I32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline I32 operator-(I32 a, I32 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline I32 operator*(I32 a, I32 b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
inline I32 operator&(I32 a, I32 b) { return {_mm512_and_si512(a.v, b.v)}; }
inline I32 operator|(I32 a, I32 b) { return {_mm512_or_si512(a.v, b.v)}; }
inline I32 operator^(I32 a, I32 b) { return {_mm512_xor_si512(a.v, b.v)}; }
inline Mask equal(I32 a, I32 b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
inline I32 min(I32 a, I32 b) { return {_mm512_min_epi32(a.v, b.v)}; }
inline I32 max(I32 a, I32 b) { return {_mm512_max_epi32(a.v, b.v)}; }
template <int kBits>
inline I32 shift_left(I32 a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline I32 shift_right(I32 a) {
  return {_mm512_srai_epi32(a.v, kBits)};
}
template <int kBits>
inline I32 shift_right_logical(I32 a) {
  return {_mm512_srli_epi32(a.v, kBits)};
}

inline I32 bitcast_int(F32 a) { return {_mm512_castps_si512(a.v)}; }
inline F32 bitcast_float(I32 a) { return {_mm512_castsi512_ps(a.v)}; }
inline F32 to_float(I32 a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline I32 to_int(F32 a) { return {_mm512_cvtps_epi32(a.v)}; }
// a * 2^n for integral n in [-252, 252] and 0.5 < |a| < 2, rounded once; a may be NaN.
inline F32 scale_by_power(F32 a, F32 n) { return {_mm512_scalef_ps(a.v, n.v)}; }

// Lane l of the result is lane l + kDistance, for l < kDistance; the lanes beyond are unspecified.
template <int kDistance>
inline F32 rotate_half(F32 a) {
  if constexpr (kDistance == 8) return {_mm512_shuffle_f32x4(a.v, a.v, 0x4e)};
  if constexpr (kDistance == 4) return {_mm512_shuffle_f32x4(a.v, a.v, 0xb1)};
  if constexpr (kDistance == 2) return {_mm512_permute_ps(a.v, 0x4e)};
  return {_mm512_permute_ps(a.v, 0xb1)};
}

// y[c * 16 + r] = x[r * stride + c] for a 16 x 16 block.
inline void transpose_16x16(const float* x, int64_t stride, float* y) {
  __m512 r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(x + i * stride);
  // Within 128-bit lanes: 4 x 4 blocks of four rows.
  for (int i = 0; i < 16; i += 4) {
    __m512 a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
    __m512 c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
    t[i] = _mm512_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
  }
  // Then the 128-bit lanes themselves, a 4 x 4 transpose of them for each column within a lane.
  for (int j = 0; j < 4; ++j) {
    __m512 a = _mm512_shuffle_f32x4(t[j], t[j + 4], 0x44), b = _mm512_shuffle_f32x4(t[j], t[j + 4], 0xee);
    __m512 c = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0x44), d = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0xee);
    _mm512_storeu_ps(y + j * 16, _mm512_shuffle_f32x4(a, c, 0x88));
    _mm512_storeu_ps(y + (j + 4) * 16, _mm512_shuffle_f32x4(a, c, 0xdd));
    _mm512_storeu_ps(y + (j + 8) * 16, _mm512_shuffle_f32x4(b, d, 0x88));
    _mm512_storeu_ps(y + (j + 12) * 16, _mm512_shuffle_f32x4(b, d, 0xdd));
  }
}

// IEEE half precision bits; conversion to it rounds to nearest even.
inline F32 load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline F32 load_f16_n(const uint16_t* p, int n) {
  if (n == 16) return load_f16(p);

  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes_mask(n), p))};
}
inline void store_f16(uint16_t* p, F32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void store_f16_n(uint16_t* p, F32 a, int n) {
  if (n == 16) return store_f16(p, a);

  _mm256_mask_storeu_epi16(p, lanes_mask(n), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

#if defined(__AVX512BF16__)
// to_bf16_bits stored, unless a lane is subnormal, which the instruction takes for zero: then false, and nothing is.
inline bool store_bf16_without_subnormals(uint16_t* p, F32 a) {
  constexpr int kSubnormal = 0x20;
  if (_mm512_fpclass_ps_mask(a.v, kSubnormal) != 0) return false;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(a.v));
  return true;
}
inline bool store_bf16_without_subnormals(uint16_t* p, F32 a, F32 b) {
  constexpr int kSubnormal = 0x20;
  if ((_mm512_fpclass_ps_mask(a.v, kSubnormal) | _mm512_fpclass_ps_mask(b.v, kSubnormal)) != 0) return false;
  _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(b.v, a.v));
  return true;
}
#endif

}  // namespace
}  // namespace lowp::LOWP_TARGET
