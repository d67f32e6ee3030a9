// The batch_norm family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/batch_norm/table.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::BatchNormArgs;
using kernels::BatchNormGradientArgs;
using kernels::BlockSums;

template <typename S>
const typename S::T* as(const void* p) {
  return static_cast<const typename S::T*>(p);
}
template <typename S>
typename S::T* as(void* p) {
  return static_cast<typename S::T*>(p);
}

template <auto kValue>
struct Constant {
  static constexpr auto value = kValue;
};

// Calls body(first channel, lanes, vectors) over [c0, c1), four vectors at a time where there are as many: one sum is
// one chain of dependent additions, and rows are read in longer pieces.
constexpr int kVectors = 4;
template <typename Body>
[[gnu::always_inline]] inline void for_channels(int64_t c0, int64_t c1, Body&& body) {
  for (; c0 + kVectors * kLanes <= c1; c0 += kVectors * kLanes) body(c0, kLanes, Constant<kVectors>{});
  for (; c0 + kLanes <= c1; c0 += kLanes) body(c0, kLanes, Constant<1>{});
  if (c0 < c1) body(c0, static_cast<int>(c1 - c0), Constant<1>{});
}

template <typename S>
void moments_of(const BatchNormArgs& a, int64_t begin, int64_t end, int64_t c0, int64_t c1, BlockSums out) {
  const int64_t ld = a.channels;
  const F32 count = set(static_cast<float>(end - begin));
  for_channels(c0, c1, [&](int64_t c, int lanes, auto vectors) LOWP_INLINE {
    constexpr int kCount = decltype(vectors)::value;
    const typename S::T* x = as<S>(a.x) + begin * ld + c;
    F32 sum[kCount], square[kCount];
    for (int v = 0; v < kCount; ++v) sum[v] = square[v] = zero();
    const typename S::T* p = x;
    for (int64_t r = begin; r < end; ++r, p += ld) {
      for (int v = 0; v < kCount; ++v) sum[v] = sum[v] + S::load(p + v * kLanes, lanes);
    }
    for (int v = 0; v < kCount; ++v) sum[v] = sum[v] / count;
    p = x;
    for (int64_t r = begin; r < end; ++r, p += ld) {
      for (int v = 0; v < kCount; ++v) {
        const F32 d = S::load(p + v * kLanes, lanes) - sum[v];
        square[v] = fma(d, d, square[v]);
      }
    }
    for (int v = 0; v < kCount; ++v) {
      store_n(out.first + c + v * kLanes, sum[v], lanes);
      store_n(out.second + c + v * kLanes, square[v], lanes);
    }
  });
}
void moments(const BatchNormArgs& a, int64_t begin, int64_t end, int64_t c0, int64_t c1, BlockSums out) {
  for_storage(a.dtype, [&](auto s) { moments_of<decltype(s)>(a, begin, end, c0, c1, out); });
}

void join(const BatchNormArgs& a, int64_t blocks, BlockSums sums, int64_t c0, int64_t c1) {
  for_lanes(c1 - c0, [&](int64_t i, int lanes) LOWP_INLINE {
    const int64_t c = c0 + i;
    F32 mean = load_n(sums.first + c, lanes), m2 = load_n(sums.second + c, lanes);
    for (int64_t b = 1; b < blocks; ++b) {
      const int64_t begin = b * kernels::kBatchNormBlock, stop = begin + kernels::kBatchNormBlock;
      const float seen = static_cast<float>(begin), n = static_cast<float>((stop < a.rows ? stop : a.rows) - begin);
      const float share = n / (seen + n);
      const F32 d = load_n(sums.first + b * a.channels + c, lanes) - mean;
      mean = fma(d, set(share), mean);
      m2 = fma(d * d, set(seen * share), m2 + load_n(sums.second + b * a.channels + c, lanes));
    }
    store_n(a.mean + c, mean, lanes);
    store_n(a.inv_std + c, set(1.0f) / sqrt(m2 / set(static_cast<float>(a.rows)) + set(a.eps)), lanes);
    if (a.variance != nullptr)
      store_n(a.variance + c, m2 / set(static_cast<float>(a.rows > 1 ? a.rows - 1 : 1)), lanes);
  });
}

template <typename S, bool kRelu, bool kResidual>
void normalize_of(const BatchNormArgs& args, int64_t begin, int64_t end) {
  const BatchNormArgs a = args;  // a copy that stores cannot alias
  for (int64_t r = begin; r < end; ++r) {
    const int64_t row = r * a.channels;
    for_lanes(a.channels, [&](int64_t c, int lanes) LOWP_INLINE {
      const F32 factor = load_n(a.inv_std + c, lanes) * load_n(a.scale + c, lanes);
      F32 v = fma(S::load(as<S>(a.x) + row + c, lanes) - load_n(a.mean + c, lanes), factor, load_n(a.bias + c, lanes));
      if constexpr (kResidual) v = v + S::load(as<S>(a.residual) + row + c, lanes);
      if constexpr (kRelu) v = max(zero(), v);
      S::store(as<S>(a.y) + row + c, v, lanes);
    });
  }
}
void normalize(const BatchNormArgs& a, int64_t begin, int64_t end) {
  for_storage(a.dtype, [&](auto s) {
    using S = decltype(s);
    if (a.relu)
      a.residual != nullptr ? normalize_of<S, true, true>(a, begin, end) : normalize_of<S, true, false>(a, begin, end);
    else
      a.residual != nullptr ? normalize_of<S, false, true>(a, begin, end)
                            : normalize_of<S, false, false>(a, begin, end);
  });
}

// Where the gradient of a relu passes: nowhere else than where its result is above zero, recomputed where it is not at
// hand.
enum class ReluMask { kNone, kFromY, kFromX };
template <typename Body>
[[gnu::always_inline]] inline void for_mask(const BatchNormGradientArgs& a, Body&& body) {
  if (!a.relu) return body(Constant<ReluMask::kNone>{});
  if (a.y != nullptr) return body(Constant<ReluMask::kFromY>{});
  body(Constant<ReluMask::kFromX>{});
}

// g of 16 channels of a row, given x - mean.
template <typename S, ReluMask kMask>
[[gnu::always_inline]] inline F32 masked(const BatchNormGradientArgs& a, int64_t row, int64_t c, int lanes, F32 d) {
  const F32 dy = S::load(as<S>(a.dy) + row + c, lanes);
  if constexpr (kMask == ReluMask::kNone) return dy;
  F32 v;
  if constexpr (kMask == ReluMask::kFromY)
    v = S::load(as<S>(a.y) + row + c, lanes);
  else
    v = fma(d, load_n(a.inv_std + c, lanes) * load_n(a.scale + c, lanes), load_n(a.bias + c, lanes));
  return select(v > zero(), dy, zero());
}

template <typename S, ReluMask kMask, bool kStore>
void gradient_sums_of(const BatchNormGradientArgs& args, int64_t begin, int64_t end, int64_t c0, int64_t c1,
                      BlockSums out) {
  const BatchNormGradientArgs a = args;
  for_channels(c0, c1, [&](int64_t c, int lanes, auto vectors) LOWP_INLINE {
    constexpr int kCount = decltype(vectors)::value;
    F32 sum[kCount], product[kCount];
    for (int v = 0; v < kCount; ++v) sum[v] = product[v] = zero();
    for (int64_t r = begin; r < end; ++r) {
      const int64_t row = r * a.channels;
      for (int v = 0; v < kCount; ++v) {
        const int64_t at = c + v * kLanes;
        const F32 d = S::load(as<S>(a.x) + row + at, lanes) - load_n(a.mean + at, lanes);
        const F32 g = masked<S, kMask>(a, row, at, lanes, d);
        if constexpr (kStore) S::store(as<S>(a.dresidual) + row + at, g, lanes);
        sum[v] = sum[v] + g;
        product[v] = fma(g, d, product[v]);
      }
    }
    for (int v = 0; v < kCount; ++v) {
      store_n(out.first + c + v * kLanes, sum[v], lanes);
      store_n(out.second + c + v * kLanes, product[v], lanes);
    }
  });
}
void gradient_sums(const BatchNormGradientArgs& a, int64_t begin, int64_t end, int64_t c0, int64_t c1, BlockSums out) {
  for_storage(a.dtype, [&](auto s) {
    for_mask(a, [&](auto mask) {
      using S = decltype(s);
      constexpr ReluMask kMask = decltype(mask)::value;
      a.dresidual != nullptr ? gradient_sums_of<S, kMask, true>(a, begin, end, c0, c1, out)
                             : gradient_sums_of<S, kMask, false>(a, begin, end, c0, c1, out);
    });
  });
}

void add(const BatchNormGradientArgs& a, int64_t blocks, BlockSums sums, int64_t c0, int64_t c1) {
  for_lanes(c1 - c0, [&](int64_t i, int lanes) LOWP_INLINE {
    const int64_t c = c0 + i;
    F32 s = load_n(sums.first + c, lanes), p = load_n(sums.second + c, lanes);
    for (int64_t b = 1; b < blocks; ++b) {
      s = s + load_n(sums.first + b * a.channels + c, lanes);
      p = p + load_n(sums.second + b * a.channels + c, lanes);
    }
    const F32 inv = load_n(a.inv_std + c, lanes), rows = set(static_cast<float>(a.rows)), dscale = p * inv;
    store_n(a.dbias + c, s, lanes);
    store_n(a.dscale + c, dscale, lanes);
    store_n(sums.first + c, s / rows, lanes);
    store_n(sums.second + c, dscale * inv / rows, lanes);
  });
}

// Whole rows, as memory is what this waits for: along columns it took 1.3x to 2.6x as long (Zen 3).
template <typename S, ReluMask kMask>
void gradient_of(const BatchNormGradientArgs& args, BlockSums shares, int64_t begin, int64_t end) {
  const BatchNormGradientArgs a = args;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t row = r * a.channels;
    for_lanes(a.channels, [&](int64_t c, int lanes) LOWP_INLINE {
      const F32 d = S::load(as<S>(a.x) + row + c, lanes) - load_n(a.mean + c, lanes);
      const F32 g = masked<S, kMask>(a, row, c, lanes, d) - load_n(shares.first + c, lanes);
      const F32 factor = load_n(a.inv_std + c, lanes) * load_n(a.scale + c, lanes);
      S::store(as<S>(a.dx) + row + c, factor * fnma(d, load_n(shares.second + c, lanes), g), lanes);
    });
  }
}
void gradient(const BatchNormGradientArgs& args, BlockSums shares, int64_t begin, int64_t end) {
  BatchNormGradientArgs a = args;
  if (a.dresidual != nullptr) {  // g is there already
    a.dy = a.dresidual;
    a.relu = false;
  }
  for_storage(a.dtype, [&](auto s) {
    for_mask(a, [&](auto mask) { gradient_of<decltype(s), decltype(mask)::value>(a, shares, begin, end); });
  });
}

void inverse_std(const float* variance, float eps, int64_t channels, float* inv_std) {
  for_lanes(channels, [&](int64_t c, int lanes) LOWP_INLINE {
    store_n(inv_std + c, set(1.0f) / sqrt(load_n(variance + c, lanes) + set(eps)), lanes);
  });
}

}  // namespace

extern const kernels::BatchNormTable batch_norm_table;
const kernels::BatchNormTable batch_norm_table = {moments, join, normalize, gradient_sums, add, gradient, inverse_std};

}  // namespace lowp::LOWP_TARGET
