// The integer and bf16 dot products of one 16-column panel row, for each target.
//   splat4(p)           four bytes of A in every lane
//   dot_u8s8(acc,a,b)   acc += sum of 4 u8 x s8, exact (VNNI targets and emu512)
//   dot_s16(acc,a,b)    acc += sum of 2 s16 x s16, modulo 2^32 (the same targets)
//   Part, maddubs, ...  the registers and instructions of the ways without VNNI
//   add32_into(s, p)    s += p in the register that s is in, not to be reassociated with the next: gcc 12 would add
//                       products first, keep them and spill sums
//   dot_bf16(acc,a,b)   vdpbf16ps: acc = fma(a1, b1, acc), then fma(a0, b0, acc); denormals in and out are zero
#pragma once

#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

inline int32_t load4(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}
inline I32 splat4(const uint8_t* p) { return set_int(load4(p)); }

#if defined(__AVX512F__)
inline I32 load_panel(const int8_t* p) { return {_mm512_loadu_si512(p)}; }
#if defined(__AVX512VNNI__)
#define LOWP_HAS_DOT
inline I32 dot_u8s8(I32 acc, I32 a, I32 b) { return {_mm512_dpbusd_epi32(acc.v, a.v, b.v)}; }
inline I32 dot_s16(I32 acc, I32 a, I32 b) { return {_mm512_dpwssd_epi32(acc.v, a.v, b.v)}; }
#else
// Registers of 16 lanes: the steps without VNNI need so many that they go register by register.
using Part = __m512i;
constexpr int kParts = 1;
inline Part& part(I32& v, int) { return v.v; }
inline Part load_part(const char* p, int) { return _mm512_loadu_si512(p); }
inline Part splat_part(const void* p) { return _mm512_set1_epi32(load4(static_cast<const uint8_t*>(p))); }
// Bytes 0 and 2, and 1 and 3, of every lane as s16.
inline Part even_bytes(Part b) { return _mm512_srai_epi16(_mm512_slli_epi16(b, 8), 8); }
inline Part odd_bytes(Part b) { return _mm512_srai_epi16(b, 8); }
inline Part maddubs(Part a, Part b) { return _mm512_maddubs_epi16(a, b); }
inline Part madd(Part a, Part b) { return _mm512_madd_epi16(a, b); }
inline Part add16(Part a, Part b) { return _mm512_add_epi16(a, b); }
inline Part add32(Part a, Part b) { return _mm512_add_epi32(a, b); }
inline void add16_into(Part& sum, Part b) {
  sum = add16(sum, b);
  __asm__("" : "+v"(sum));
}
inline void add32_into(Part& sum, Part b) {
  sum = add32(sum, b);
  __asm__("" : "+v"(sum));
}
inline Part ones16() { return _mm512_set1_epi16(1); }
inline Part ones16_now() { return ones16(); }
#endif
#if defined(__AVX512BF16__)
#define LOWP_HAS_BF16_DOT
inline F32 dot_bf16(F32 acc, I32 a, I32 b) { return {_mm512_dpbf16_ps(acc.v, (__m512bh)a.v, (__m512bh)b.v)}; }
#endif

#elif defined(__AVX2__)
inline I32 load_panel(const int8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
#if defined(__AVXVNNI__)
#define LOWP_HAS_DOT
inline I32 dot_u8s8(I32 acc, I32 a, I32 b) {
  return {_mm256_dpbusd_avx_epi32(acc.lo, a.lo, b.lo), _mm256_dpbusd_avx_epi32(acc.hi, a.hi, b.hi)};
}
inline I32 dot_s16(I32 acc, I32 a, I32 b) {
  return {_mm256_dpwssd_avx_epi32(acc.lo, a.lo, b.lo), _mm256_dpwssd_avx_epi32(acc.hi, a.hi, b.hi)};
}
#else
using Part = __m256i;
constexpr int kParts = 2;
inline Part& part(I32& v, int h) { return h == 0 ? v.lo : v.hi; }
inline Part load_part(const char* p, int h) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * h)); }
inline Part splat_part(const void* p) { return _mm256_set1_epi32(load4(static_cast<const uint8_t*>(p))); }
inline Part even_bytes(Part b) { return _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8); }
inline Part odd_bytes(Part b) { return _mm256_srai_epi16(b, 8); }
inline Part maddubs(Part a, Part b) { return _mm256_maddubs_epi16(a, b); }
inline Part madd(Part a, Part b) { return _mm256_madd_epi16(a, b); }
inline Part add16(Part a, Part b) { return _mm256_add_epi16(a, b); }
inline Part add32(Part a, Part b) { return _mm256_add_epi32(a, b); }
inline void add16_into(Part& sum, Part b) { __asm__("vpaddw %1, %0, %0" : "+x"(sum) : "x"(b)); }
inline void add32_into(Part& sum, Part b) { __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(b)); }
inline Part ones16() { return _mm256_set1_epi16(1); }
// The same, made where it is wanted: a loop that needs all registers has none to keep it in.
inline Part ones16_now() {
  Part ones;
  __asm__ volatile("vpcmpeqw %0, %0, %0\n\tvpsrlw $15, %0, %0" : "=x"(ones));
  return ones;
}
#endif

#else
#define LOWP_HAS_DOT
inline I32 load_panel(const int8_t* p) {
  I32 r;
  __builtin_memcpy(&r, p, 64);
  return r;
}
inline I32 dot_u8s8(I32 acc, I32 a, I32 b) {
  for (int i = 0; i < 16; ++i) {
    uint32_t ua = static_cast<uint32_t>(a.v[i]), ub = static_cast<uint32_t>(b.v[i]);
    int32_t sum = 0;
    for (int j = 0; j < 4; ++j) {
      sum += static_cast<int32_t>((ua >> (8 * j)) & 255u) * static_cast<int8_t>((ub >> (8 * j)) & 255u);
    }
    acc.v[i] = static_cast<int32_t>(static_cast<uint32_t>(acc.v[i]) + static_cast<uint32_t>(sum));
  }
  return acc;
}
inline I32 dot_s16(I32 acc, I32 a, I32 b) {
  for (int i = 0; i < 16; ++i) {
    const auto high = static_cast<uint32_t>((a.v[i] >> 16) * (b.v[i] >> 16));
    const auto low = static_cast<uint32_t>(static_cast<int16_t>(a.v[i]) * static_cast<int16_t>(b.v[i]));
    acc.v[i] = static_cast<int32_t>(static_cast<uint32_t>(acc.v[i]) + high + low);
  }
  return acc;
}
#if defined(LOWP_EMULATE_BF16_DOT)
#define LOWP_HAS_BF16_DOT
inline float flush(float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x; }
// fma with subnormal results flushed. A result that rounding lifts to 2^-126 is flushed too if it would round below it
// were the exponent's range unbounded: scaled by 2^32 it shows.
inline float flushed_fma(float a, float b, float c) {
  float r = __builtin_fmaf(a, b, c);
  if (__builtin_fabsf(r) == 0x1p-126f) {
    float scaled = __builtin_fabsf(a) < 1.0f ? __builtin_fmaf(a * 0x1p32f, b, c * 0x1p32f)
                                             : __builtin_fmaf(a, b * 0x1p32f, c * 0x1p32f);
    if (__builtin_fabsf(scaled) < 0x1p-94f) return __builtin_copysignf(0.0f, r);
  }
  return flush(r);
}
inline float bf16_float(uint32_t bits) {
  uint32_t u = bits << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return flush(f);
}
inline F32 dot_bf16(F32 acc, I32 a, I32 b) {
  for (int i = 0; i < 16; ++i) {
    uint32_t ua = static_cast<uint32_t>(a.v[i]), ub = static_cast<uint32_t>(b.v[i]);
    float s = flushed_fma(bf16_float(ua >> 16), bf16_float(ub >> 16), flush(acc.v[i]));
    acc.v[i] = flushed_fma(bf16_float(ua & 0xffffu), bf16_float(ub & 0xffffu), s);
  }
  return acc;
}
#endif
#endif

}  // namespace
}  // namespace lowp::LOWP_TARGET
