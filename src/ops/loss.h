// What ops that compute a loss share.
#pragma once

#include <string_view>

#include "ops/op_def.h"

namespace lowp::ops {

enum class Reduction : uint8_t { kNone, kSum, kMean };

inline Status check_reduction(std::string_view name) {
  if (name == "none" || name == "mean" || name == "sum") return {};
  return error(Code::kInvalidModel, "unknown reduction '{}'", name).with_hint("none, mean or sum");
}
inline Reduction reduction_of(std::string_view name) {
  return name == "none" ? Reduction::kNone : name == "sum" ? Reduction::kSum : Reduction::kMean;
}

// Element i of f32, bf16 or f16 values.
inline float load_float(DType dtype, const void* p, int64_t i) {
  if (dtype == DType::kBF16) return static_cast<float>(static_cast<const BFloat16*>(p)[i]);
  if (dtype == DType::kF16) return static_cast<float>(static_cast<const Float16*>(p)[i]);
  return static_cast<const float*>(p)[i];
}
inline void store_float(DType dtype, void* p, int64_t i, float v) {
  if (dtype == DType::kBF16) {
    static_cast<BFloat16*>(p)[i] = BFloat16(v);
  } else if (dtype == DType::kF16) {
    static_cast<Float16*>(p)[i] = Float16(v);
  } else {
    static_cast<float*>(p)[i] = v;
  }
}

}  // namespace lowp::ops
