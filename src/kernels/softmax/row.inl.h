// One row of softmax over 16 lanes (contract: softmax.h); attention uses it too.
#pragma once

#include "simd/math.h"

namespace lowp::LOWP_TARGET {
namespace {

// x[i] + mask[i], lanes beyond n at -inf so that they take no part in the maximum and their weight is 0.
template <bool kMask>
inline F32 masked_scores(const float* x, const float* mask, int64_t i, int lanes) {
  F32 v = load_n(x + i, lanes);
  if constexpr (kMask) v = v + load_n(mask + i, lanes);
  return lanes == kLanes ? v : select(first_lanes(lanes), v, set(-__builtin_inff()));
}

template <bool kMask, bool kLog>
inline void softmax_row(const float* x, const float* mask, float* y, int64_t n) {
  // max(NaN, greatest) is greatest: the NaN reaches the row through the sum instead.
  F32 greatest = set(-__builtin_inff());
  for_lanes(
      n, [&](int64_t i, int lanes) LOWP_INLINE { greatest = max(masked_scores<kMask>(x, mask, i, lanes), greatest); });
  F32 m = set(reduce_max(greatest));
  F32 sums = zero();
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 e = exp_weight(masked_scores<kMask>(x, mask, i, lanes) - m);
    if constexpr (!kLog) store_n(y + i, e, lanes);
    // Where m is infinite the spare lanes hold NaN; they are no part of the row.
    sums = sums + (lanes == kLanes ? e : select(first_lanes(lanes), e, zero()));
  });
  F32 sum = set(reduce_add(sums));
  if constexpr (kLog) {
    F32 log_sum = log(sum);
    for_lanes(n, [&](int64_t i, int lanes)
                     LOWP_INLINE { store_n(y + i, (masked_scores<kMask>(x, mask, i, lanes) - m) - log_sum, lanes); });
  } else {
    F32 inverse = set(1.0f) / sum;
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, load_n(y + i, lanes) * inverse, lanes); });
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
