// Quantization of 16 lanes, for every kernel that writes u8 or s8 (contract: quantize.h).
#pragma once

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

// saturate(round_half_even(x / scale) + zero); NaN gives zero.
template <bool kSigned>
inline I32 quantize_lanes(F32 x, F32 scale, I32 zero_point) {
  constexpr int kMin = kSigned ? -128 : 0, kMax = kSigned ? 127 : 255;
  F32 t = round_even(x / scale);
  t = max(to_float(set_int(kMin) - zero_point), min(to_float(set_int(kMax) - zero_point), t));
  return to_int(select(is_nan(t), zero(), t)) + zero_point;
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
