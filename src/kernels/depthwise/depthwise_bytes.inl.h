// Registers of bytes for depthwise_blocks_s8.inl.h: Bytes32 (AVX2) and Bytes64 (AVX-512), by one set of names.
// Unpacking, packing and storing fours work within lanes of 128 bits.
#pragma once

#include <immintrin.h>

#include "kernels/gemm/dot.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

#if defined(LOWP_HAS_DOT)
constexpr bool kHasDot = true;
#else
constexpr bool kHasDot = false;
#endif

#if defined(__AVX512F__)
#define LOWP_MOVE_BYTES "vmovdqu64"
#else
#define LOWP_MOVE_BYTES "vmovdqu"
#endif

struct Bytes32 {
  using Vec = __m256i;
  static constexpr int64_t kBytes = 32;
  [[gnu::always_inline]] static Vec load(const char* p) { return _mm256_loadu_si256(reinterpret_cast<const Vec*>(p)); }
  [[gnu::always_inline]] static void store(char* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<Vec*>(p), v); }
  [[gnu::always_inline]] static Vec set8(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
  [[gnu::always_inline]] static Vec set16(int v) { return _mm256_set1_epi16(static_cast<short>(v)); }
  [[gnu::always_inline]] static Vec bit_xor(Vec a, Vec b) { return _mm256_xor_si256(a, b); }
  [[gnu::always_inline]] static Vec low_bytes(Vec a, Vec b) { return _mm256_unpacklo_epi8(a, b); }
  [[gnu::always_inline]] static Vec high_bytes(Vec a, Vec b) { return _mm256_unpackhi_epi8(a, b); }
  [[gnu::always_inline]] static Vec low_halves(Vec a, Vec b) { return _mm256_unpacklo_epi16(a, b); }
  [[gnu::always_inline]] static Vec high_halves(Vec a, Vec b) { return _mm256_unpackhi_epi16(a, b); }
  // high_bytes or low_bytes of what lies at a and b. In one piece: gcc 12 takes a loaded vector to the stack and back.
  template <bool kHigh>
  [[gnu::always_inline]] static Vec mix_loaded(const char* a, const char* b) {
    Vec v;
    if constexpr (kHigh) {
      __asm__(LOWP_MOVE_BYTES " %1, %0\n\tvpunpckhbw %2, %0, %0"
              : "=&v"(v)
              : "m"(*reinterpret_cast<const __m256i_u*>(a)), "m"(*reinterpret_cast<const __m256i_u*>(b)));
    } else {
      __asm__(LOWP_MOVE_BYTES " %1, %0\n\tvpunpcklbw %2, %0, %0"
              : "=&v"(v)
              : "m"(*reinterpret_cast<const __m256i_u*>(a)), "m"(*reinterpret_cast<const __m256i_u*>(b)));
    }
    return v;
  }
#if defined(__AVX512VNNI__)
  [[gnu::always_inline]] static Vec dot(Vec sum, Vec x, Vec w) { return _mm256_dpbusd_epi32(sum, x, w); }
#elif defined(__AVXVNNI__)
  [[gnu::always_inline]] static Vec dot(Vec sum, Vec x, Vec w) { return _mm256_dpbusd_avx_epi32(sum, x, w); }
#endif
  [[gnu::always_inline]] static Vec madd(Vec a, Vec b) { return _mm256_madd_epi16(a, b); }
  [[gnu::always_inline]] static Vec maddubs(Vec a, Vec b) { return _mm256_maddubs_epi16(a, b); }
  [[gnu::always_inline]] static void add_into(Vec& sum, Vec b) { __asm__("vpaddd %1, %0, %0" : "+v"(sum) : "v"(b)); }
  [[gnu::always_inline]] static Vec add32(Vec a, Vec b) { return _mm256_add_epi32(a, b); }
  [[gnu::always_inline]] static Vec adds16(Vec a, Vec b) { return _mm256_adds_epi16(a, b); }
  [[gnu::always_inline]] static Vec packs32(Vec a, Vec b) { return _mm256_packs_epi32(a, b); }
  [[gnu::always_inline]] static Vec packus16(Vec a, Vec b) { return _mm256_packus_epi16(a, b); }
  [[gnu::always_inline]] static Vec max8(Vec a, Vec b) { return _mm256_max_epu8(a, b); }
  [[gnu::always_inline]] static Vec min8(Vec a, Vec b) { return _mm256_min_epu8(a, b); }
  // The bytes that are negative, all ones.
  [[gnu::always_inline]] static Vec signs(Vec a) { return _mm256_cmpgt_epi8(_mm256_setzero_si256(), a); }
  // rne(x * scale + offset), all of them bits of floats.
  [[gnu::always_inline]] static Vec scaled(Vec x, Vec scale, Vec offset) {
    return _mm256_cvtps_epi32(
        _mm256_fmadd_ps(_mm256_castsi256_ps(x), _mm256_castsi256_ps(scale), _mm256_castsi256_ps(offset)));
  }
  // A lane to every sixteenth element.
  [[gnu::always_inline]] static void store_fours(int32_t* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), _mm256_extracti128_si256(v, 1));
  }
};

#if defined(__AVX512F__)
struct Bytes64 {
  using Vec = __m512i;
  static constexpr int64_t kBytes = 64;
  [[gnu::always_inline]] static Vec load(const char* p) { return _mm512_loadu_si512(p); }
  [[gnu::always_inline]] static void store(char* p, Vec v) { _mm512_storeu_si512(p, v); }
  [[gnu::always_inline]] static Vec set8(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  [[gnu::always_inline]] static Vec set16(int v) { return _mm512_set1_epi16(static_cast<short>(v)); }
  [[gnu::always_inline]] static Vec bit_xor(Vec a, Vec b) { return _mm512_xor_si512(a, b); }
  [[gnu::always_inline]] static Vec low_bytes(Vec a, Vec b) { return _mm512_unpacklo_epi8(a, b); }
  [[gnu::always_inline]] static Vec high_bytes(Vec a, Vec b) { return _mm512_unpackhi_epi8(a, b); }
  [[gnu::always_inline]] static Vec low_halves(Vec a, Vec b) { return _mm512_unpacklo_epi16(a, b); }
  [[gnu::always_inline]] static Vec high_halves(Vec a, Vec b) { return _mm512_unpackhi_epi16(a, b); }
  template <bool kHigh>
  [[gnu::always_inline]] static Vec mix_loaded(const char* a, const char* b) {
    return kHigh ? high_bytes(load(a), load(b)) : low_bytes(load(a), load(b));
  }
#if defined(__AVX512VNNI__)
  [[gnu::always_inline]] static Vec dot(Vec sum, Vec x, Vec w) { return _mm512_dpbusd_epi32(sum, x, w); }
#endif
  [[gnu::always_inline]] static Vec madd(Vec a, Vec b) { return _mm512_madd_epi16(a, b); }
  [[gnu::always_inline]] static Vec maddubs(Vec a, Vec b) { return _mm512_maddubs_epi16(a, b); }
  [[gnu::always_inline]] static void add_into(Vec& sum, Vec b) { __asm__("vpaddd %1, %0, %0" : "+v"(sum) : "v"(b)); }
  [[gnu::always_inline]] static Vec add32(Vec a, Vec b) { return _mm512_add_epi32(a, b); }
  [[gnu::always_inline]] static Vec adds16(Vec a, Vec b) { return _mm512_adds_epi16(a, b); }
  [[gnu::always_inline]] static Vec packs32(Vec a, Vec b) { return _mm512_packs_epi32(a, b); }
  [[gnu::always_inline]] static Vec packus16(Vec a, Vec b) { return _mm512_packus_epi16(a, b); }
  [[gnu::always_inline]] static Vec max8(Vec a, Vec b) { return _mm512_max_epu8(a, b); }
  [[gnu::always_inline]] static Vec min8(Vec a, Vec b) { return _mm512_min_epu8(a, b); }
  [[gnu::always_inline]] static Vec signs(Vec a) { return _mm512_movm_epi8(_mm512_movepi8_mask(a)); }
  [[gnu::always_inline]] static Vec scaled(Vec x, Vec scale, Vec offset) {
    return _mm512_cvtps_epi32(
        _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(scale), _mm512_castsi512_ps(offset)));
  }
  [[gnu::always_inline]] static void store_fours(int32_t* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_castsi512_si128(v));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), _mm512_extracti32x4_epi32(v, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 32), _mm512_extracti32x4_epi32(v, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 48), _mm512_extracti32x4_epi32(v, 3));
  }
};
using WideBytes = Bytes64;
#else
using WideBytes = Bytes32;
#endif

}  // namespace
}  // namespace lowp::LOWP_TARGET
