// What ends in INT8: the clamp, stores of 16 and 32 columns, and the sums of an INT8 layer brought to steps of its
// output.
#pragma once

#include "kernels/gemm/tiles.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::Activation;
using kernels::Epilogue;
using kernels::EpilogueArgs;

// INT8 to INT8: sums in steps of the output. kBias: the bias is yet to be added.
template <bool kBias>
struct RequantIn {
  I32 bias;
  F32 multiplier, residual_multiplier, offset;
  RequantIn(const EpilogueArgs& t, int64_t n, int lanes)
      : bias(kBias && t.e->bias_s32 ? load_int_n(t.e->bias_s32 + n, lanes) : set_int(0)),
        multiplier(load_n(t.e->scale + n, lanes) * set(t.e->out_inv_scale)),
        residual_multiplier(set(t.e->residual_scale * t.e->out_inv_scale)),
        offset(set(-(static_cast<float>(t.e->residual_zero) * (t.e->residual_scale * t.e->out_inv_scale)))) {}
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
// The clamp has left q inside its type, so that AVX-512 can truncate.
template <bool kSigned>
[[gnu::always_inline]] inline void store_quantized(uint8_t* p, int lanes, I32 q) {
#if defined(__AVX512F__)
  const __m128i bytes = _mm512_cvtepi32_epi8(q.v);
  if (lanes == 16) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  _mm_mask_storeu_epi8(p, lanes_mask(lanes), bytes);
#else
  if (kSigned)
    lanes == 16 ? store_s8(reinterpret_cast<int8_t*>(p), q) : store_s8_n(reinterpret_cast<int8_t*>(p), q, lanes);
  else
    lanes == 16 ? store_u8(p, q) : store_u8_n(p, q, lanes);
#endif
}

// 32 columns at a time: the zero point is added and the ends of the clamp are met after packing, where one instruction
// does it for more of them; the upper one only where kHigh, for values that to_int cannot turn to 0x80000000 for being
// too high. That is what q0 and q1 have for NaN and for anything too low.
template <bool kSigned, bool kHigh = false>
[[gnu::always_inline]] inline void store_pair(uint8_t* p, I32 q0, I32 q1, int zero_point, int low,
                                              [[maybe_unused]] int high = 0) {
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
  static_assert(!kHigh);
  const __m256i zero = _mm256_set1_epi16(static_cast<short>(zero_point)),
                floor = _mm256_set1_epi8(static_cast<char>(low));
  const __m256i w0 = _mm256_adds_epi16(_mm256_packs_epi32(q0.lo, q0.hi), zero);
  const __m256i w1 = _mm256_adds_epi16(_mm256_packs_epi32(q1.lo, q1.hi), zero);
  const __m256i bytes = kSigned ? _mm256_max_epi8(_mm256_packs_epi16(w0, w1), floor)
                                : _mm256_max_epu8(_mm256_packus_epi16(w0, w1), floor);
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

// The clamp of a quantized output in steps of it, relu and clip included, and its ends as stored values.
struct StepsClamp {
  float lower, upper;
  int low, high;
};
template <bool kSigned>
StepsClamp clamp_of(const Epilogue& e) {
  const float least = static_cast<float>(e.out_range.least(kSigned) - e.out_zero),
              most = static_cast<float>(e.out_range.most(kSigned) - e.out_zero);
  float lower = least, upper = most;
  if (e.activation == Activation::kRelu) lower = lower > 0.0f ? lower : 0.0f;
  if (e.activation == Activation::kClip) {
    float clip_lo = e.lo * e.out_inv_scale, clip_hi = e.hi * e.out_inv_scale;
    lower = lower > clip_lo ? lower : clip_lo;
    upper = upper < clip_hi ? upper : clip_hi;
  }
  // A clip range outside what the format holds saturates to the nearer end; a lower end above the upper one yields to
  // it.
  lower = lower < most ? lower : most;
  upper = upper > least ? upper : least;
  lower = lower < upper ? lower : upper;
  return {lower, upper, static_cast<int>(__builtin_rintf(lower)) + e.out_zero,
          static_cast<int>(__builtin_rintf(upper)) + e.out_zero};
}

// kSteps: values come in steps of the output.
template <bool kSigned, bool kSteps>
struct OutQuantized {
  uint8_t* out;
  F32 inv_scale, lo, hi;
  int zero_point, low, high;  // the clamp's ends as stored values
  explicit OutQuantized(const EpilogueArgs& t) : OutQuantized(*t.e, t.out, clamp_of<kSigned>(*t.e)) {}
  OutQuantized(const Epilogue& e, void* to, const StepsClamp& clamp)
      : out(static_cast<uint8_t*>(to)),
        inv_scale(set(e.out_inv_scale)),
        lo(set(clamp.lower)),
        hi(set(clamp.upper)),
        zero_point(e.out_zero),
        low(clamp.low),
        high(clamp.high) {}
  [[gnu::always_inline]] void operator()(int64_t at, int lanes, F32 y) const {
    store_quantized<kSigned>(out + at, lanes, to_int(min(max(steps(y), lo), hi)) + set_int(zero_point));
  }
  [[gnu::always_inline]] void pair(int64_t at, F32 y0, F32 y1) const {
    store_pair<kSigned>(out + at, to_int(min(hi, steps(y0))), to_int(min(hi, steps(y1))), zero_point, low);
  }
  // The same of values that fit an int32 before they are clamped.
  [[gnu::always_inline]] void fitting_pair(int64_t at, F32 y0, F32 y1) const {
    store_pair<kSigned, true>(out + at, to_int(steps(y0)), to_int(steps(y1)), zero_point, low, high);
  }
  [[gnu::always_inline]] F32 steps(F32 y) const { return kSteps ? y : y * inv_scale; }
};

// A tile's sums, bias included, of MR rows and 32 columns from `column` on, to INT8 without a stay in memory. They
// fit an int32 in steps of the output.
template <int MR, bool kSigned, bool kResidual>
[[gnu::always_inline]] inline void requantize_rows(const EpilogueArgs& t, const I32 (&sums)[MR][2], int64_t column) {
  const Epilogue& e = *t.e;
  const RequantIn<false> in[2] = {RequantIn<false>(t, t.n0 + column, 16), RequantIn<false>(t, t.n0 + column + 16, 16)};
  const OutQuantized<kSigned, true> out(t);
  auto value = [&](int i, int p) LOWP_INLINE {
    if constexpr (kResidual) {
      const I32 residual = load_residual_q8(e, t.residual, i * e.residual_ld + column + 16 * p, 16);
      return in[p].steps_with(sums[i][p], residual);
    }
    return in[p].steps(sums[i][p]);
  };
  _Pragma("GCC unroll 16") for (int i = 0; i < MR; ++i) out.fitting_pair(i * t.ldc + column, value(i, 0), value(i, 1));
}
template <int MR>
[[gnu::always_inline]] inline void requantize_tile(const EpilogueArgs& t, const I32 (&sums)[MR][2], int64_t column) {
  const bool residual = t.residual != nullptr;
  if (t.e->out == DType::kU8)
    residual ? requantize_rows<MR, false, true>(t, sums, column) : requantize_rows<MR, false, false>(t, sums, column);
  else
    residual ? requantize_rows<MR, true, true>(t, sums, column) : requantize_rows<MR, true, false>(t, sums, column);
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
