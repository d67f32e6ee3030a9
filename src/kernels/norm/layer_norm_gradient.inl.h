// The gradient of layer normalization over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/norm/layer_norm_gradient_table.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

template <typename S>
void layer_norm_gradient_rows(const kernels::LayerNormGradientArgs& a, int64_t begin, int64_t end) {
  using T = typename S::T;
  const int64_t n = a.n;
  const float* gamma = a.gamma;
  const float count = static_cast<float>(n);
  for (int64_t r = begin; r < end; ++r) {
    const T* dy = static_cast<const T*>(a.dy) + r * n;
    const T* x = static_cast<const T*>(a.x) + r * n;
    T* dx = static_cast<T*>(a.dx) + r * n;
    const F32 mean = set(a.mean[r]), inv = set(a.inv_std[r]);
    F32 sums = zero(), products = zero();
    // Lanes beyond the row: s is zero there.
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      const F32 s = S::load(dy + i, lanes) * load_n(gamma + i, lanes);
      sums = sums + s;
      const F32 next = fma(s, (S::load(x + i, lanes) - mean) * inv, products);
      products = lanes == kLanes ? next : select(first_lanes(lanes), next, products);
    });
    const F32 mean_s = set(reduce_add(sums) / count), mean_p = set(reduce_add(products) / count);
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      const F32 s = S::load(dy + i, lanes) * load_n(gamma + i, lanes);
      const F32 xhat = (S::load(x + i, lanes) - mean) * inv;
      S::store(dx + i, fnma(xhat, mean_p, s - mean_s) * inv, lanes);
    });
  }
}

// kVectors * 16 columns at a time: their sums stay in registers, and a row is read in runs of whole lines.
template <typename S, int kVectors>
[[gnu::always_inline]] inline void column_sums(const kernels::LayerNormGradientArgs& a, int64_t column, int lanes) {
  using T = typename S::T;
  constexpr int64_t kBlock = 256;
  F32 gamma[kVectors], beta[kVectors];
  for (int64_t block = 0; block == 0 || block < a.rows; block += kBlock) {
    const int64_t stop = block + kBlock < a.rows ? block + kBlock : a.rows;
    F32 g[kVectors], b[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) g[v] = b[v] = zero();
    for (int64_t r = block; r < stop; ++r) {
      const T* dy = static_cast<const T*>(a.dy) + r * a.n + column;
      const T* x = static_cast<const T*>(a.x) + r * a.n + column;
      const F32 mean = set(a.mean[r]), inv = set(a.inv_std[r]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const F32 d = S::load(dy + 16 * v, lanes);
        fma_into(g[v], d, (S::load(x + 16 * v, lanes) - mean) * inv);
        b[v] = b[v] + d;
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      gamma[v] = block == 0 ? g[v] : gamma[v] + g[v];
      beta[v] = block == 0 ? b[v] : beta[v] + b[v];
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    if (a.dgamma != nullptr) store_n(a.dgamma + column + 16 * v, gamma[v], lanes);
    if (a.dbeta != nullptr) store_n(a.dbeta + column + 16 * v, beta[v], lanes);
  }
}

template <typename S>
void layer_norm_gradient_columns(const kernels::LayerNormGradientArgs& a, int64_t begin, int64_t end) {
  int64_t c = begin;
  for (; c + 32 <= end; c += 32) column_sums<S, 2>(a, c, kLanes);
  for (; c + 16 <= end; c += 16) column_sums<S, 1>(a, c, kLanes);
  if (c < end) column_sums<S, 1>(a, c, static_cast<int>(end - c));
}

void layer_norm_rows_of(const kernels::LayerNormGradientArgs& a, int64_t begin, int64_t end) {
  for_storage(a.dtype, [&](auto s) { layer_norm_gradient_rows<decltype(s)>(a, begin, end); });
}
void layer_norm_columns_of(const kernels::LayerNormGradientArgs& a, int64_t begin, int64_t end) {
  for_storage(a.dtype, [&](auto s) { layer_norm_gradient_columns<decltype(s)>(a, begin, end); });
}

}  // namespace

extern const kernels::LayerNormGradientTable layer_norm_gradient_table;
const kernels::LayerNormGradientTable layer_norm_gradient_table = {layer_norm_rows_of, layer_norm_columns_of};

}  // namespace lowp::LOWP_TARGET
