// The fake_quantize family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/fake_quantize/table.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

template <typename S>
[[gnu::always_inline]] inline void lanes_of(const typename S::T* dy, const typename S::T* x, typename S::T* y,
                                            int64_t i, int lanes, F32 scale, F32 unit, F32 low, F32 high) {
  const F32 v = S::load(x + i, lanes);
  const F32 steps = round_even(v / scale);
  if (dy == nullptr) {
    // min and max give their second operand where one is NaN.
    S::store(y + i, max(low, min(high, steps)) * unit, lanes);
  } else {
    const Mask inside = (low <= steps) & (steps <= high);
    S::store(y + i, select(inside, S::load(dy + i, lanes) * (unit / scale), zero()), lanes);
  }
}

void run(DType dtype, float scale, float unit, float low, float high, const void* dy, const void* x, void* y,
         int64_t n) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    using T = typename S::T;
    const F32 by = set(scale), worth = set(unit), least = set(low), most = set(high);
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      lanes_of<S>(static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<T*>(y), i, lanes, by, worth, least,
                  most);
    });
  });
}

void each(DType dtype, const float* scale, const float* unit, const float* low, const float* high, const void* dy,
          const void* x, void* y, int64_t n) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    using T = typename S::T;
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      lanes_of<S>(static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<T*>(y), i, lanes,
                  load_n(scale + i, lanes), load_n(unit + i, lanes), load_n(low + i, lanes), load_n(high + i, lanes));
    });
  });
}

void extremes(DType dtype, const void* x, int64_t n, float* low, float* high) {
  // Lanes beyond n are read as zero, which counts anyhow; min(v, least) is least where v is NaN.
  F32 least = zero(), greatest = zero();
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      const F32 v = S::load(static_cast<const typename S::T*>(x) + i, lanes);
      least = min(v, least);
      greatest = max(v, greatest);
    });
  });
  *low = reduce_min(least);
  *high = reduce_max(greatest);
}

void channel_extremes(DType dtype, const void* x, int64_t rows, int64_t stride, int64_t n, float* low, float* high) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      F32 least = load_n(low + i, lanes), greatest = load_n(high + i, lanes);
      const auto* at = static_cast<const typename S::T*>(x) + i;
      for (int64_t r = 0; r < rows; ++r, at += stride) {
        const F32 v = S::load(at, lanes);
        least = min(v, least);
        greatest = max(v, greatest);
      }
      store_n(low + i, least, lanes);
      store_n(high + i, greatest, lanes);
    });
  });
}

}  // namespace

extern const kernels::FakeQuantizeTable fake_quantize_table;
const kernels::FakeQuantizeTable fake_quantize_table = {run, each, extremes, channel_extremes};

}  // namespace lowp::LOWP_TARGET
