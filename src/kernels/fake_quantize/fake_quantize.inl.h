// The fake_quantize family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/fake_quantize/table.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

template <typename S>
[[gnu::always_inline]] inline void lanes_of(const typename S::T* dy, const typename S::T* x, typename S::T* y,
                                            int64_t i, int lanes, F32 scale, F32 low, F32 high) {
  const F32 v = S::load(x + i, lanes);
  const F32 steps = round_even(v / scale);
  if (dy == nullptr) {
    // min and max give their second operand where one is NaN.
    S::store(y + i, max(low, min(high, steps)) * scale, lanes);
  } else {
    const Mask inside = (low <= steps) & (steps <= high);
    S::store(y + i, select(inside, S::load(dy + i, lanes), zero()), lanes);
  }
}

void run(DType dtype, float scale, float low, float high, const void* dy, const void* x, void* y, int64_t n) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    using T = typename S::T;
    const F32 by = set(scale), least = set(low), most = set(high);
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      lanes_of<S>(static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<T*>(y), i, lanes, by, least, most);
    });
  });
}

void each(DType dtype, const float* scale, const float* low, const float* high, const void* dy, const void* x, void* y,
          int64_t n) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    using T = typename S::T;
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      lanes_of<S>(static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<T*>(y), i, lanes,
                  load_n(scale + i, lanes), load_n(low + i, lanes), load_n(high + i, lanes));
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

}  // namespace

extern const kernels::FakeQuantizeTable fake_quantize_table;
const kernels::FakeQuantizeTable fake_quantize_table = {run, each, extremes};

}  // namespace lowp::LOWP_TARGET
