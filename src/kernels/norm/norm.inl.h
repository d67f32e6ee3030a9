// The norm family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/norm/table.h"
#include "kernels/quantize/lanes.inl.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

// Mean and 1 / sqrt(variance + eps) of kRows rows of n values; value(r, i, lanes) gives lanes beyond a row as zero.
// Several rows at once because one row is one chain of dependent additions.
template <int kRows, typename Value>
[[gnu::always_inline]] inline void moments(int64_t n, float eps, bool rms, Value value, float* mean, float* inv_std) {
  float count = static_cast<float>(n);
  F32 sums[kRows], squares[kRows], m[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) sums[r] = squares[r] = m[r] = zero();
  if (!rms) {
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[r] = sums[r] + value(r, i, lanes);
    });
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) m[r] = set(reduce_add(sums[r]) / count);
  }
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      F32 d = rms ? value(r, i, lanes) : value(r, i, lanes) - m[r];
      if (lanes < kLanes) d = select(first_lanes(lanes), d, zero());
      squares[r] = fma(d, d, squares[r]);
    }
  });
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    F32 variance = set(reduce_add(squares[r]) / count);
    mean[r] = first(m[r]);
    inv_std[r] = first(set(1.0f) / sqrt(variance + set(eps)));
  }
}

[[gnu::always_inline]] inline F32 affine(F32 v, const float* gamma, const float* beta, int64_t i, int lanes) {
  if (gamma == nullptr) return beta == nullptr ? v : v + load_n(beta + i, lanes);
  return beta == nullptr ? v * load_n(gamma + i, lanes) : fma(v, load_n(gamma + i, lanes), load_n(beta + i, lanes));
}

template <int kRows, bool kSigned, bool kResidual>
void layer_norm_rows(const kernels::LayerNormArgs& args, int64_t row) {
  const kernels::LayerNormArgs a = args;  // a copy that stores cannot alias, so that its fields stay in registers
  const float* x = a.x + row * a.n;
  const float* residual = kResidual ? a.residual + row * a.n : nullptr;
  const int64_t n = a.n;
  auto value = [&](int r, int64_t i, int lanes) LOWP_INLINE {
    F32 v = load_n(x + r * n + i, lanes);
    if constexpr (kResidual) v = v + load_n(residual + r * n + i, lanes);
    return v;
  };
  float mean[kRows], inv_std[kRows];
  moments<kRows>(n, a.eps, a.rms, value, mean, inv_std);
  F32 q_scale = set(a.q_scale);
  const Quantizer<kSigned> quantize(a.q_zero, a.q_range);
  for (int r = 0; r < kRows; ++r) {
    if (a.mean_out) a.mean_out[row + r] = mean[r];
    if (a.inv_std_out) a.inv_std_out[row + r] = inv_std[r];
    F32 m = set(mean[r]), inv = set(inv_std[r]);
    int64_t offset = (row + r) * n;
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      F32 s = value(r, i, lanes);
      if (a.sum_out) store_n(a.sum_out + offset + i, s, lanes);
      const F32 v = (a.rms ? s : s - m) * inv;
      const F32 y = affine(v, a.gamma, a.beta, i, lanes);
      if (a.y) store_n(a.y + offset + i, y, lanes);
      if (a.quantized) {
        const F32 q = a.q_gamma ? affine(v, a.q_gamma, a.q_beta, i, lanes) : y;
        store_q8<kSigned>(a.quantized, offset + i, quantize(q, q_scale), lanes);
      }
    });
  }
}

template <bool kSigned, bool kResidual>
void layer_norm_typed(const kernels::LayerNormArgs& a, int64_t begin, int64_t end) {
  constexpr int kRows = 4;
  for (; begin + kRows <= end; begin += kRows) layer_norm_rows<kRows, kSigned, kResidual>(a, begin);
  for (; begin < end; ++begin) layer_norm_rows<1, kSigned, kResidual>(a, begin);
}

void layer_norm(const kernels::LayerNormArgs& a, int64_t begin, int64_t end) {
  if (a.q_dtype == DType::kI8) {
    (a.residual ? layer_norm_typed<true, true> : layer_norm_typed<true, false>)(a, begin, end);
  } else {
    (a.residual ? layer_norm_typed<false, true> : layer_norm_typed<false, false>)(a, begin, end);
  }
}

template <typename S, int kRows>
void stored_rows(const kernels::LayerNormArgs& args, const typename S::T* x, typename S::T* y, int64_t row) {
  const kernels::LayerNormArgs a = args;
  const int64_t n = a.n;
  x += row * n;
  y += row * n;
  auto value = [&](int r, int64_t i, int lanes) LOWP_INLINE { return S::load(x + r * n + i, lanes); };
  float mean[kRows], inv_std[kRows];
  moments<kRows>(n, a.eps, a.rms, value, mean, inv_std);
  for (int r = 0; r < kRows; ++r) {
    if (a.mean_out) a.mean_out[row + r] = mean[r];
    if (a.inv_std_out) a.inv_std_out[row + r] = inv_std[r];
    F32 m = set(mean[r]), inv = set(inv_std[r]);
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      F32 s = value(r, i, lanes);
      S::store(y + r * n + i, affine((a.rms ? s : s - m) * inv, a.gamma, a.beta, i, lanes), lanes);
    });
  }
}
void layer_norm_stored(const kernels::LayerNormArgs& a, DType dtype, const void* x, void* y, int64_t begin,
                       int64_t end) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    const auto* in = static_cast<const typename S::T*>(x);
    auto* out = static_cast<typename S::T*>(y);
    for (; begin + 4 <= end; begin += 4) stored_rows<S, 4>(a, in, out, begin);
    for (; begin < end; ++begin) stored_rows<S, 1>(a, in, out, begin);
  });
}

void group_norm(const kernels::GroupNormArgs& a, int64_t begin, int64_t end) {
  int64_t per_group = a.channels / a.groups, n = per_group * a.inner;
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x + r * n;
    float* y = a.y + r * n;
    float mean, inv_std;
    auto value = [&](int, int64_t i, int lanes) LOWP_INLINE { return load_n(x + i, lanes); };
    moments<1>(n, a.eps, false, value, &mean, &inv_std);
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
const kernels::NormTable norm_table = {layer_norm, layer_norm_stored, group_norm, l2_normalize};

}  // namespace lowp::LOWP_TARGET
