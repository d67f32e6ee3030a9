// Quantization of 16 lanes, for every kernel that writes u8 or s8 (contract: quantize.h).
#pragma once

#include "kernels/stored_range.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

// Loads and stores of 8-bit elements by signedness.
template <bool kSigned>
inline I32 load_q8(const void* base, int64_t i, int n) {
  if constexpr (kSigned) {
    return load_s8_n(static_cast<const int8_t*>(base) + i, n);
  } else {
    return load_u8_n(static_cast<const uint8_t*>(base) + i, n);
  }
}
template <bool kSigned>
inline void store_q8(void* base, int64_t i, I32 v, int n) {
  if constexpr (kSigned) {
    store_s8_n(static_cast<int8_t*>(base) + i, v, n);
  } else {
    store_u8_n(static_cast<uint8_t*>(base) + i, v, n);
  }
}

// clamp(round_half_even(x / scale) + zero, low, high); NaN gives zero.
template <bool kSigned>
struct Quantizer {
  I32 zero_point;
  F32 low, high;  // in steps
  Quantizer(I32 zero, kernels::StoredRange range)
      : zero_point(zero),
        low(to_float(set_int(range.least(kSigned)) - zero)),
        high(to_float(set_int(range.most(kSigned)) - zero)) {}
  Quantizer(int32_t zero, kernels::StoredRange range) : Quantizer(set_int(zero), range) {}
  [[gnu::always_inline]] I32 operator()(F32 x, F32 scale) const { return of_steps(x / scale); }
  [[gnu::always_inline]] I32 of_steps(F32 x) const {
    const F32 t = max(low, min(high, round_even(x)));
    return to_int(select(is_nan(t), zero(), t)) + zero_point;
  }
};

}  // namespace
}  // namespace lowp::LOWP_TARGET
