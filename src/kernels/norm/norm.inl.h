// The norm family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/norm/table.h"
#include "kernels/quantize/lanes.inl.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

// Mean and 1 / sqrt(variance + eps) of n values; value(i, lanes) gives lanes beyond the row as zero.
template <typename Value>
[[gnu::always_inline]] inline void moments(int64_t n, float eps, bool rms, Value value, float* mean, float* inv_std) {
  float count = static_cast<float>(n);
  *mean = 0.0f;
  if (!rms) {
    F32 sums = zero();
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { sums = sums + value(i, lanes); });
    *mean = reduce_add(sums) / count;
  }
  F32 m = set(*mean), squares = zero();
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 d = rms ? value(i, lanes) : value(i, lanes) - m;
    if (lanes < kLanes) d = select(first_lanes(lanes), d, zero());
    squares = fma(d, d, squares);
  });
  F32 variance = set(reduce_add(squares) / count);
  *inv_std = first(set(1.0f) / sqrt(variance + set(eps)));
}

template <bool kSigned, bool kResidual>
void layer_norm_row(const kernels::LayerNormArgs& a, int64_t row) {
  int64_t offset = row * a.n;
  const float* x = a.x + offset;
  const float* residual = kResidual ? a.residual + offset : nullptr;
  auto value = [&](int64_t i, int lanes) LOWP_INLINE {
    F32 v = load_n(x + i, lanes);
    if constexpr (kResidual) v = v + load_n(residual + i, lanes);
    return v;
  };
  float mean, inv_std;
  moments(a.n, a.eps, a.rms, value, &mean, &inv_std);
  if (a.mean_out) a.mean_out[row] = mean;
  if (a.inv_std_out) a.inv_std_out[row] = inv_std;
  F32 m = set(mean), inv = set(inv_std), q_scale = set(a.q_scale);
  I32 q_zero = set_int(a.q_zero);
  for_lanes(a.n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 s = value(i, lanes);
    if (a.sum_out) store_n(a.sum_out + offset + i, s, lanes);
    F32 v = (a.rms ? s : s - m) * inv;
    if (a.gamma) {
      F32 gamma = load_n(a.gamma + i, lanes);
      v = a.beta ? fma(v, gamma, load_n(a.beta + i, lanes)) : v * gamma;
    } else if (a.beta) {
      v = v + load_n(a.beta + i, lanes);
    }
    if (a.y) store_n(a.y + offset + i, v, lanes);
    if (a.quantized) store_q8<kSigned>(a.quantized, offset + i, quantize_lanes<kSigned>(v, q_scale, q_zero), lanes);
  });
}

void layer_norm(const kernels::LayerNormArgs& a, int64_t begin, int64_t end) {
  bool is_signed = a.q_dtype == DType::kI8;
  auto* row = a.residual ? (is_signed ? layer_norm_row<true, true> : layer_norm_row<false, true>)
                         : (is_signed ? layer_norm_row<true, false> : layer_norm_row<false, false>);
  for (int64_t r = begin; r < end; ++r) row(a, r);
}

void group_norm(const kernels::GroupNormArgs& a, int64_t begin, int64_t end) {
  int64_t per_group = a.channels / a.groups, n = per_group * a.inner;
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x + r * n;
    float* y = a.y + r * n;
    float mean, inv_std;
    moments(
        n, a.eps, false, [&](int64_t i, int lanes) LOWP_INLINE { return load_n(x + i, lanes); }, &mean, &inv_std);
    F32 m = set(mean), inv = set(inv_std);
    for (int64_t c = 0; c < per_group; ++c) {
      int64_t channel = r % a.groups * per_group + c;
      F32 gamma = set(a.gamma[channel]), beta = set(a.beta[channel]);
      for_lanes(a.inner, [&](int64_t i, int lanes) LOWP_INLINE {
        F32 d = load_n(x + c * a.inner + i, lanes) - m;
        store_n(y + c * a.inner + i, fma(d * inv, gamma, beta), lanes);
      });
    }
  }
}

void l2_normalize(const float* x, float* y, int64_t rows, int64_t n, float eps) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    F32 squares = zero();
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      F32 v = load_n(x + i, lanes);
      squares = fma(v, v, squares);
    });
    F32 norm = max(set(eps), sqrt(set(reduce_add(squares))));
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, load_n(x + i, lanes) / norm, lanes); });
  }
}

}  // namespace

extern const kernels::NormTable norm_table;
const kernels::NormTable norm_table = {layer_norm, group_norm, l2_normalize};

}  // namespace lowp::LOWP_TARGET
