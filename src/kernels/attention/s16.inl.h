// Attention in 16-bit integers (contract: attention.h).
//
// Element i of each 32 shares a word with element i + 16, so that two vectors of 16 make 16 words without shuffles; a
// sum does not mind the order.
#pragma once

#include "kernels/attention/product.inl.h"
#include "simd/math.h"
#include "simd/reduce_rows.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::AttentionArgs;
using kernels::AttentionScratch;

// Up to kQueryBlock queries of one batch item and head.
struct Queries {
  const AttentionArgs& a;
  int64_t batch, head, first, count;

  const float* row(int64_t r) const {
    return a.q + batch * a.q_strides.batch + head * a.q_strides.head + (first + r) * a.q_strides.row;
  }
  const float* mask(int64_t r) const {
    return a.mask ? a.mask + batch * a.mask_batch + head * a.mask_head + (first + r) * a.mask_row : nullptr;
  }
  // How many keys query r sees.
  int64_t visible(int64_t r) const {
    const int64_t n = a.causal ? first + r + 1 + a.t - a.s : a.t;
    return n < 0 ? 0 : n > a.t ? a.t : n;
  }
};

constexpr float kSteps = 2047.0f;
constexpr float kLeastMagnitude = 0x1p-100f;
constexpr float kLog2E = 0x1.715476p+0f;

// What x is divided by to become steps, and steps are multiplied by to become x again.
struct StepSize {
  float inverse, scale;
  explicit StepSize(F32 magnitudes) {
    const float largest = first(max(set(reduce_max(magnitudes)), set(kLeastMagnitude)));
    inverse = kSteps / largest;
    scale = largest / kSteps;
  }
};
// The largest magnitudes so far; NaN is none.
inline F32 magnitudes_of(const float* x, int64_t n, F32 so_far) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { so_far = max(abs(load_n(x + i, lanes)), so_far); });
  return so_far;
}
// The magnitudes of [rows, n], `stride` apart.
inline F32 magnitudes_of(const float* x, int64_t rows, int64_t stride, int64_t n) {
  F32 so_far = zero();
  for (int64_t r = 0; r < rows; ++r) so_far = magnitudes_of(x + r * stride, n, so_far);
  return so_far;
}
inline I32 to_steps(F32 x, F32 inverse) {
  return to_int(min(max(x * inverse, set(-kSteps)), set(kSteps)));  // NaN: -kSteps
}
inline F32 word_of(I32 low, I32 high) { return bitcast_float((low & set_int(0xffff)) | shift_left<16>(high)); }

// 2047 exp2(t) for t <= 0, off by 7.5e-5 of it: a sixth of a step at most. From -30 on it is as good as 0.
inline F32 weight(F32 t) {
  t = max(set(-30.0f), t);
  const F32 n = round_even(t);
  return scale_by_power(poly(t - n, 0x1.ffb694p+10f, 0x1.62c6bcp+10f, 0x1.f0a000p+8f, 0x1.c3bee0p+6f), n);
}

inline int lanes_left(int64_t n) { return n >= kLanes ? kLanes : n > 0 ? static_cast<int>(n) : 0; }
// n elements as words; whole 32s, zeros beyond n.
inline void to_words(const float* x, int64_t n, float inverse, float* out) {
  const F32 inv = set(inverse);
  for (int64_t i = 0; i < n; i += 32, out += 16) {
    store(out, word_of(to_steps(load_n(x + i, lanes_left(n - i)), inv),
                       to_steps(load_n(x + i + 16, lanes_left(n - i - 16)), inv)));
  }
}

class S16 {
 public:
  using Kind = Words;
  S16(const AttentionArgs& a, const AttentionScratch& layout)
      : a_(a), layout_(layout), output_factor_(a.y_dtype == DType::kF32 ? 1.0f : 1.0f / a.y_scale) {}

  // Panels of 16 keys: [t / 16][words of d][16]. `rows` is room for 16 keys.
  void pack_keys(const float* k, float* rows, float* out) {
    const int64_t words = layout_.query_ld;
    const StepSize steps(magnitudes_of(k, a_.t, a_.k_strides.row, a_.d));
    key_scale_ = steps.scale;
    for (int64_t t0 = 0; t0 < a_.t; t0 += 16, out += words * 16) {
      for (int64_t i = 0; i < 16; ++i) {
        const int64_t n = t0 + i < a_.t ? a_.d : 0;
        to_words(k + (t0 + i) * a_.k_strides.row, n, steps.inverse, rows + i * words);
        for (int64_t w = 0; n == 0 && w < words; w += 16) store(rows + i * words + w, zero());
      }
      for (int64_t w = 0; w < words; w += 16) transpose_16x16(rows + w, words, out + w * 16);
    }
  }
  // Panels of 16 columns: [dv / 16][words of t][16].
  void pack_values(const float* v, float* out) {
    const int64_t row = a_.v_strides.row;
    const StepSize steps(magnitudes_of(v, a_.t, row, a_.dv));
    value_scale_ = steps.scale;
    const F32 inverse = set(steps.inverse);
    for_lanes(a_.dv, [&](int64_t c, int lanes) LOWP_INLINE {
      auto steps_at = [&](int64_t t) LOWP_INLINE {
        return t < a_.t ? to_steps(load_n(v + t * row + c, lanes), inverse) : set_int(0);
      };
      for (int64_t t0 = 0; t0 < a_.t; t0 += 32) {
        for (int64_t t = t0; t < t0 + 16; ++t, out += 16) store(out, word_of(steps_at(t), steps_at(t + 16)));
      }
    });
  }
  void pack_queries(const Queries& queries, float* out) {
    for_16(queries.count, [&](int64_t r0, int64_t count) LOWP_INLINE {
      F32 magnitudes[16];
      for (int64_t r = 0; r < 16; ++r)
        magnitudes[r] = r < count ? magnitudes_of(queries.row(r0 + r), a_.d, zero()) : zero();
      const F32 largest = max(reduce_rows(magnitudes, kLarger), set(kLeastMagnitude));
      float inverse[16];
      store(inverse, set(kSteps) / largest);
      store(query_scale_ + r0, largest / set(kSteps));
      for (int64_t r = 0; r < count; ++r)
        to_words(queries.row(r0 + r), a_.d, inverse[r], out + (r0 + r) * layout_.query_ld);
    });
  }
  // Scores of queries become words of weights; keys that a query does not see get 0.
  void weigh(const Queries& queries, float* scores) {
    a_.mask ? weigh_as<true>(queries, scores) : weigh_as<false>(queries, scores);
  }
  F32 output(int64_t r, F32 sum) const { return sum * set(factor_[r]); }
  F32 output_steps(int64_t r, F32 sum) const { return sum * set(factor_[r]); }

 private:
  static constexpr auto kLarger = [](F32 a, F32 b) LOWP_INLINE { return max(a, b); };
  static constexpr auto kSum = [](F32 a, F32 b) LOWP_INLINE { return a + b; };

  // body(first row, rows) for each 16 rows: what is done across lanes is done for so many at once, and rows do not
  // wait for each other.
  template <typename Body>
  static void for_16(int64_t rows, Body&& body) {
    for (int64_t r = 0; r < rows; r += 16) body(r, rows - r < 16 ? rows - r : 16);
  }

  template <bool kMask>
  void weigh_as(const Queries& queries, float* scores) {
    for_16(queries.count, [&](int64_t r0, int64_t count) LOWP_INLINE {
      float* rows = scores + r0 * layout_.score_ld;
      F32 per_row[16];
      for (int64_t r = 0; r < 16; ++r)
        per_row[r] = r < count ? scale_scores<kMask>(queries, r0 + r, rows + r * layout_.score_ld) : zero();
      float top[16];
      store(top, neg(reduce_rows(per_row, kLarger) * set(kLog2E)));
      for (int64_t r = 0; r < count; ++r)
        per_row[r] = to_weights(queries.visible(r0 + r), top[r], rows + r * layout_.score_ld);
      store(factor_ + r0, (set(value_scale_) / reduce_rows(per_row, kSum)) * set(output_factor_));
      for (int64_t r = r0; r < r0 + count; ++r) {
        if (queries.visible(r) == 0) factor_[r] = 0.0f;
      }
    });
  }
  // The greatest of its lanes is the greatest score.
  template <bool kMask>
  F32 scale_scores(const Queries& queries, int64_t r, float* scores) const {
    const F32 scale = set((query_scale_[r] * key_scale_) * a_.scale);
    const float* mask = kMask ? queries.mask(r) : nullptr;
    F32 greatest = set(-__builtin_inff());
    for_lanes(queries.visible(r), [&](int64_t i, int lanes) LOWP_INLINE {
      F32 p = load_n(scores + i, lanes) * scale;
      if constexpr (kMask) p = p + load_n(mask + i, lanes);
      store_n(scores + i, p, lanes);
      greatest = max(lanes == kLanes ? p : select(first_lanes(lanes), p, set(-__builtin_inff())), greatest);
    });
    return greatest;
  }
  // Words of weights in place of the scores; their sum is that of the lanes.
  F32 to_weights(int64_t visible, float top, float* scores) const {
    const F32 log2_e = set(kLog2E), below = set(top);
    I32 sums = set_int(0);
    auto weights = [&](int64_t i) LOWP_INLINE {
      const int lanes = lanes_left(visible - i);
      const I32 w = to_int(max(weight(fma(load_n(scores + i, lanes), log2_e, below)), zero()));  // NaN: 0
      return lanes == kLanes ? w : select(first_lanes(lanes), w, set_int(0));
    };
    for (int64_t i = 0; i < a_.t; i += 32) {
      const I32 low = weights(i), high = weights(i + 16);
      sums = sums + (low + high);
      store(scores + i / 2, word_of(low, high));
    }
    return to_float(sums);
  }

  const AttentionArgs& a_;
  const AttentionScratch& layout_;
  float key_scale_ = 0, value_scale_ = 0;
  float output_factor_;  // of values, where the output wants steps
  float query_scale_[kernels::kQueryBlock], factor_[kernels::kQueryBlock];
};

}  // namespace
}  // namespace lowp::LOWP_TARGET
