// The vectors of simd/vec.h in two AVX2 registers (with FMA and F16C): lanes 0-7 and 8-15.
#pragma once

#include <immintrin.h>

namespace lowp::LOWP_TARGET {
namespace {

struct F32 {
  __m256 lo, hi;
};
struct I32 {
  __m256i lo, hi;
};
// All bits of a lane set or clear.
struct Mask {
  __m256 lo, hi;
};

inline F32 set(float a) { return {_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
inline I32 set_int(int32_t a) { return {_mm256_set1_epi32(a), _mm256_set1_epi32(a)}; }
inline F32 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline float first(F32 a) { return _mm256_cvtss_f32(a.lo); }
inline __m256i lanes_mask(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Mask first_lanes(int n) { return {_mm256_castsi256_ps(lanes_mask(n)), _mm256_castsi256_ps(lanes_mask(n - 8))}; }

inline F32 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, F32 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline F32 load_n(const float* p, int n) {
  if (n == 16) return load(p);
  return {_mm256_maskload_ps(p, lanes_mask(n)), _mm256_maskload_ps(p + 8, lanes_mask(n - 8))};
}
inline void store_n(float* p, F32 a, int n) {
  if (n == 16) return store(p, a);
  _mm256_maskstore_ps(p, lanes_mask(n), a.lo);
  _mm256_maskstore_ps(p + 8, lanes_mask(n - 8), a.hi);
}

inline F32 lookup8(const float* table, I32 index) {
  const __m256 t = _mm256_load_ps(table);
  return {_mm256_permutevar8x32_ps(t, index.lo), _mm256_permutevar8x32_ps(t, index.hi)};
}

inline I32 load_int(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
inline void store_int(int32_t* p, I32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), a.hi);
}
inline I32 load_int_n(const int32_t* p, int n) {
  if (n == 16) return load_int(p);
  return {_mm256_maskload_epi32(p, lanes_mask(n)), _mm256_maskload_epi32(p + 8, lanes_mask(n - 8))};
}
inline void store_int_n(int32_t* p, I32 a, int n) {
  if (n == 16) return store_int(p, a);
  _mm256_maskstore_epi32(p, lanes_mask(n), a.lo);
  _mm256_maskstore_epi32(p + 8, lanes_mask(n - 8), a.hi);
}

// AVX2 has no masked byte or word access: tails go through a buffer on the stack.
inline __m128i load_bytes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m128i load_bytes_n(const void* p, int n) {
  if (n == 16) return load_bytes(p);
  alignas(16) uint8_t buffer[16] = {};
  for (int i = 0; i < n; ++i) buffer[i] = static_cast<const uint8_t*>(p)[i];
  return load_bytes(buffer);
}
inline void store_bytes_n(void* p, __m128i a, int n) {
  if (n == 16) return _mm_storeu_si128(static_cast<__m128i*>(p), a);
  alignas(16) uint8_t buffer[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(buffer), a);
  for (int i = 0; i < n; ++i) static_cast<uint8_t*>(p)[i] = buffer[i];
}
inline void store_words_n(uint16_t* p, __m128i lo, __m128i hi, int n) {
  store_bytes_n(p, lo, n < 8 ? 2 * n : 16);
  if (n > 8) store_bytes_n(p + 8, hi, 2 * (n - 8));
}

inline I32 widen_u8(__m128i a) { return {_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8))}; }
inline I32 widen_s8(__m128i a) { return {_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8))}; }
inline I32 load_u8(const uint8_t* p) { return widen_u8(load_bytes(p)); }
inline I32 load_s8(const int8_t* p) { return widen_s8(load_bytes(p)); }
inline I32 load_u8_n(const uint8_t* p, int n) { return widen_u8(load_bytes_n(p, n)); }
inline I32 load_s8_n(const int8_t* p, int n) { return widen_s8(load_bytes_n(p, n)); }
inline I32 load_u16(const uint16_t* p) {
  return {_mm256_cvtepu16_epi32(load_bytes(p)), _mm256_cvtepu16_epi32(load_bytes(p + 8))};
}
inline I32 load_u16_n(const uint16_t* p, int n) {
  __m128i lo = load_bytes_n(p, n < 8 ? 2 * n : 16);
  __m128i hi = n > 8 ? load_bytes_n(p + 8, 2 * (n - 8)) : _mm_setzero_si128();
  return {_mm256_cvtepu16_epi32(lo), _mm256_cvtepu16_epi32(hi)};
}
// The low 16 bits of each lane.
inline __m128i low_words(__m256i a) {
  __m256i b = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
  b = _mm256_permute4x64_epi64(_mm256_packus_epi32(b, b), 0x08);
  return _mm256_castsi256_si128(b);
}
inline void store_u16_n(uint16_t* p, I32 a, int n) { store_words_n(p, low_words(a.lo), low_words(a.hi), n); }
inline void store_u16(uint16_t* p, I32 a) { store_u16_n(p, a, 16); }
// 16 words, saturated to s16, in order; then to bytes.
inline __m256i saturate_words(I32 a) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(a.lo, a.hi), 0xd8); }
inline __m128i saturate_u8(I32 a) {
  __m256i w = saturate_words(a);
  return _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
}
inline __m128i saturate_s8(I32 a) {
  __m256i w = saturate_words(a);
  return _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
}
inline void store_u8(uint8_t* p, I32 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), saturate_u8(a)); }
inline void store_s8(int8_t* p, I32 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), saturate_s8(a)); }
inline void store_u8_n(uint8_t* p, I32 a, int n) { store_bytes_n(p, saturate_u8(a), n); }
inline void store_s8_n(int8_t* p, I32 a, int n) { store_bytes_n(p, saturate_s8(a), n); }

inline F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
// In acc's own register: left the choice, gcc 12 moves sums about where all 16 registers are taken, and spills.
[[gnu::always_inline]] inline void fma_into(F32& acc, F32 a, F32 b) {
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(acc.lo) : "x"(a.lo), "x"(b.lo));
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(acc.hi) : "x"(a.hi), "x"(b.hi));
}
inline F32 fnma(F32 a, F32 b, F32 c) {
  return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
inline F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline F32 select(Mask m, F32 yes, F32 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi)};
}
inline F32 sqrt(F32 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
template <int kMode>
inline F32 round_to(F32 a) {
  return {_mm256_round_ps(a.lo, kMode | _MM_FROUND_NO_EXC), _mm256_round_ps(a.hi, kMode | _MM_FROUND_NO_EXC)};
}
inline F32 round_even(F32 a) { return round_to<_MM_FROUND_TO_NEAREST_INT>(a); }
inline F32 floor(F32 a) { return round_to<_MM_FROUND_TO_NEG_INF>(a); }
inline F32 ceil(F32 a) { return round_to<_MM_FROUND_TO_POS_INF>(a); }

template <int kPredicate>
inline Mask compare(F32 a, F32 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, kPredicate), _mm256_cmp_ps(a.hi, b.hi, kPredicate)};
}
inline Mask operator<(F32 a, F32 b) { return compare<_CMP_LT_OQ>(a, b); }
inline Mask operator<=(F32 a, F32 b) { return compare<_CMP_LE_OQ>(a, b); }
inline Mask operator>(F32 a, F32 b) { return compare<_CMP_GT_OQ>(a, b); }
inline Mask operator>=(F32 a, F32 b) { return compare<_CMP_GE_OQ>(a, b); }
inline Mask operator==(F32 a, F32 b) { return compare<_CMP_EQ_OQ>(a, b); }
inline Mask operator!=(F32 a, F32 b) { return compare<_CMP_NEQ_UQ>(a, b); }
inline Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.lo, b.lo), _mm256_and_ps(a.hi, b.hi)}; }
inline Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.lo, b.lo), _mm256_or_ps(a.hi, b.hi)}; }
inline F32 min_nan(F32 a, F32 b) { return select(compare<_CMP_UNORD_Q>(a, a), a, min(a, b)); }
inline F32 max_nan(F32 a, F32 b) { return select(compare<_CMP_UNORD_Q>(a, a), a, max(a, b)); }

inline I32 bitcast_int(F32 a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }
inline F32 bitcast_float(I32 a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
inline I32 select(Mask m, I32 yes, I32 no) { return bitcast_int(select(m, bitcast_float(yes), bitcast_float(no))); }

inline I32 operator+(I32 a, I32 b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
inline I32 operator-(I32 a, I32 b) { return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
inline I32 operator*(I32 a, I32 b) { return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)}; }
inline I32 operator&(I32 a, I32 b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
inline I32 operator|(I32 a, I32 b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
inline I32 operator^(I32 a, I32 b) { return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)}; }
inline Mask equal(I32 a, I32 b) {
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.lo, b.lo)), _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.hi, b.hi))};
}
inline I32 min(I32 a, I32 b) { return {_mm256_min_epi32(a.lo, b.lo), _mm256_min_epi32(a.hi, b.hi)}; }
inline I32 max(I32 a, I32 b) { return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)}; }
template <int kBits>
inline I32 shift_left(I32 a) {
  return {_mm256_slli_epi32(a.lo, kBits), _mm256_slli_epi32(a.hi, kBits)};
}
template <int kBits>
inline I32 shift_right(I32 a) {
  return {_mm256_srai_epi32(a.lo, kBits), _mm256_srai_epi32(a.hi, kBits)};
}
template <int kBits>
inline I32 shift_right_logical(I32 a) {
  return {_mm256_srli_epi32(a.lo, kBits), _mm256_srli_epi32(a.hi, kBits)};
}

inline F32 to_float(I32 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
inline I32 to_int(F32 a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
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
  if constexpr (kDistance == 8) return {a.hi, a.hi};
  if constexpr (kDistance == 4) return {_mm256_permute2f128_ps(a.lo, a.lo, 1), a.hi};
  if constexpr (kDistance == 2) return {_mm256_permute_ps(a.lo, 0x4e), a.hi};
  return {_mm256_permute_ps(a.lo, 0xb1), a.hi};
}

// y[c * 16 + r] = x[r * stride + c] for an 8 x 8 block.
inline void transpose_8x8(const float* x, int64_t stride, float* y) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(x + i * stride);
  for (int i = 0; i < 8; i += 4) {
    __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
    __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
    t[i] = _mm256_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
  }
  for (int j = 0; j < 4; ++j) {
    _mm256_storeu_ps(y + j * 16, _mm256_permute2f128_ps(t[j], t[j + 4], 0x20));
    _mm256_storeu_ps(y + (j + 4) * 16, _mm256_permute2f128_ps(t[j], t[j + 4], 0x31));
  }
}
// The same for a 16 x 16 block.
inline void transpose_16x16(const float* x, int64_t stride, float* y) {
  for (int r = 0; r < 16; r += 8) {
    for (int c = 0; c < 16; c += 8) transpose_8x8(x + r * stride + c, stride, y + c * 16 + r);
  }
}

// IEEE half precision bits; conversion to it rounds to nearest even.
inline F32 load_f16(const uint16_t* p) { return {_mm256_cvtph_ps(load_bytes(p)), _mm256_cvtph_ps(load_bytes(p + 8))}; }
inline F32 load_f16_n(const uint16_t* p, int n) {
  __m128i lo = load_bytes_n(p, n < 8 ? 2 * n : 16);
  __m128i hi = n > 8 ? load_bytes_n(p + 8, 2 * (n - 8)) : _mm_setzero_si128();
  return {_mm256_cvtph_ps(lo), _mm256_cvtph_ps(hi)};
}
inline void store_f16_n(uint16_t* p, F32 a, int n) {
  store_words_n(p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT),
                n);
}
inline void store_f16(uint16_t* p, F32 a) { store_f16_n(p, a, 16); }

}  // namespace
}  // namespace lowp::LOWP_TARGET
