// The sums of an INT8 layer brought to the 8 bits of its output.
#pragma once

#include "kernels/gemm/tiles.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::Epilogue;

// INT8 to INT8: sums in steps of the output. kBias: the bias is yet to be added.
template <bool kBias>
struct RequantIn {
  I32 bias;
  F32 multiplier, residual_multiplier, offset;
  RequantIn(const kernels::EpilogueArgs& t, int64_t n, int lanes) : RequantIn(*t.e, n, lanes) {}
  RequantIn(const Epilogue& e, int64_t n, int lanes)
      : bias(kBias && e.bias_s32 ? load_int_n(e.bias_s32 + n, lanes) : set_int(0)),
        multiplier(load_n(e.scale + n, lanes) * set(e.out_inv_scale)),
        residual_multiplier(set(e.residual_scale * e.out_inv_scale)),
        offset(set(-(static_cast<float>(e.residual_zero) * (e.residual_scale * e.out_inv_scale)))) {}
  [[gnu::always_inline]] F32 sum(I32 v) const {
    if constexpr (kBias) v = v + bias;
    return to_float(v);
  }
  [[gnu::always_inline]] F32 steps(I32 v) const { return sum(v) * multiplier; }
  [[gnu::always_inline]] F32 steps_with(I32 v, I32 residual) const {
    return fma(to_float(residual), residual_multiplier, fma(sum(v), multiplier, offset));
  }
  [[gnu::always_inline]] F32 operator()(const void* acc, int64_t at) const {
    return steps(load_int(static_cast<const int32_t*>(acc) + at));
  }
};
[[gnu::always_inline]] inline I32 load_residual_q8(const Epilogue& e, const void* residual, int64_t at, int lanes) {
  return e.residual_dtype == DType::kU8 ? load_u8_n(static_cast<const uint8_t*>(residual) + at, lanes)
                                        : load_s8_n(static_cast<const int8_t*>(residual) + at, lanes);
}
// 32 columns at a time: the zero point is added and the lower end clamped after packing, where one instruction does it
// for more of them. q0 and q1 are what to_int gave, 0x80000000 for NaN and for anything too low. kHigh: so is the upper
// end, where to_int can have met nothing too high.
template <bool kSigned, bool kHigh = false>
[[gnu::always_inline]] inline void store_pair(uint8_t* p, I32 q0, I32 q1, int zero_point, int low, int high = 0) {
#if defined(__AVX512F__)
  const __m512i words =
      _mm512_adds_epi16(_mm512_packs_epi32(q0.v, q1.v), _mm512_set1_epi16(static_cast<short>(zero_point)));
  const __m512i floor = _mm512_set1_epi8(static_cast<char>(low));
  __m512i bytes = kSigned ? _mm512_max_epi8(_mm512_packs_epi16(words, words), floor)
                          : _mm512_max_epu8(_mm512_packus_epi16(words, words), floor);
  if constexpr (kHigh) {
    const __m512i ceiling = _mm512_set1_epi8(static_cast<char>(high));
    bytes = kSigned ? _mm512_min_epi8(bytes, ceiling) : _mm512_min_epu8(bytes, ceiling);
  }
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, bytes)));
#elif defined(__AVX2__)
  const __m256i zero = _mm256_set1_epi16(static_cast<short>(zero_point)),
                floor = _mm256_set1_epi8(static_cast<char>(low));
  const __m256i w0 = _mm256_adds_epi16(_mm256_packs_epi32(q0.lo, q0.hi), zero);
  const __m256i w1 = _mm256_adds_epi16(_mm256_packs_epi32(q1.lo, q1.hi), zero);
  __m256i bytes = kSigned ? _mm256_max_epi8(_mm256_packs_epi16(w0, w1), floor)
                          : _mm256_max_epu8(_mm256_packus_epi16(w0, w1), floor);
  if constexpr (kHigh) {
    const __m256i ceiling = _mm256_set1_epi8(static_cast<char>(high));
    bytes = kSigned ? _mm256_min_epi8(bytes, ceiling) : _mm256_min_epu8(bytes, ceiling);
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
#else
  auto finish = [&](I32 q) {
    I32 r;
    for (int i = 0; i < 16; ++i) {
      const int64_t sum = static_cast<int64_t>(q.v[i]) + zero_point;
      r.v[i] = static_cast<int32_t>(sum < low ? low : kHigh && sum > high ? high : sum);
    }
    return r;
  };
  store_quantized<kSigned>(p, 16, finish(q0));
  store_quantized<kSigned>(p + 16, 16, finish(q1));
#endif
}

#if defined(__AVX512F__)
// Whether sums times m fit s32: the clamp's upper end may then wait until they are bytes.
[[gnu::always_inline]] inline bool sums_fit(F32 m) {
  return _mm512_cmp_ps_mask(abs(m).v, _mm512_set1_ps(kernels::kMostStepsOfSum), _CMP_LE_OQ) == 0xffff;
}
// 64 columns, of sums_fit: as store_pair, with 20 instructions for what takes 26 there.
template <bool kSigned>
[[gnu::always_inline]] inline void store_four(uint8_t* p, I32 q0, I32 q1, I32 q2, I32 q3, int zero_point, int low,
                                              int high) {
  const __m512i zero = _mm512_set1_epi16(static_cast<short>(zero_point));
  const __m512i floor = _mm512_set1_epi8(static_cast<char>(low)), ceiling = _mm512_set1_epi8(static_cast<char>(high));
  const __m512i w0 = _mm512_adds_epi16(_mm512_packs_epi32(q0.v, q1.v), zero);
  const __m512i w1 = _mm512_adds_epi16(_mm512_packs_epi32(q2.v, q3.v), zero);
  const __m512i bytes = kSigned ? _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(w0, w1), floor), ceiling)
                                : _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(w0, w1), floor), ceiling);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, bytes));
}
#endif

}  // namespace
}  // namespace lowp::LOWP_TARGET
