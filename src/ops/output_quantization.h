// Ops that can give their result quantized: a QuantizeLinear that alone reads it becomes part of them
// (passes/fuse_quantization.cc).
#pragma once

#include <cmath>

#include "kernels/stored_range.h"
#include "ops/op_def.h"

namespace lowp::ops {

// out_dtype kF32: not quantized; so kBF16, which lowp.Linear and lowp.Conv can give. Else as QuantizeLinear with one
// scale, out_dtype kU8 or kI8, limited to the stored values out_low to out_high (ends beyond the type's range count as
// the type's).
struct OutputQuantization {
  DType out_dtype = DType::kF32;
  float out_scale = 1;
  int64_t out_zero = 0;
  int64_t out_low = -128;
  int64_t out_high = 255;
  bool quantizes() const { return out_dtype == DType::kU8 || out_dtype == DType::kI8; }
  kernels::StoredRange range() const { return {static_cast<int32_t>(out_low), static_cast<int32_t>(out_high)}; }
  bool operator==(const OutputQuantization&) const = default;
};

template <typename S>
constexpr auto output_quantization_fields() {
  return std::tuple(ir::field("out_dtype", static_cast<DType S::*>(&S::out_dtype)),
                    ir::field("out_scale", static_cast<float S::*>(&S::out_scale)),
                    ir::field("out_zero", static_cast<int64_t S::*>(&S::out_zero)),
                    ir::field("out_low", static_cast<int64_t S::*>(&S::out_low)),
                    ir::field("out_high", static_cast<int64_t S::*>(&S::out_high)));
}

inline Status check(const OutputQuantization& q) {
  if (q.out_dtype == DType::kF32) return {};
  const bool is_signed = q.out_dtype == DType::kI8;
  if (!is_signed && q.out_dtype != DType::kU8)
    return error(Code::kTypeMismatch, "output dtype {}", dtype_name(q.out_dtype));
  if (!(q.out_scale > 0) || !std::isfinite(q.out_scale))
    return error(Code::kInvalidModel, "output scale {}", q.out_scale);
  if (q.out_zero < (is_signed ? -128 : 0) || q.out_zero > (is_signed ? 127 : 255))
    return error(Code::kInvalidModel, "output zero point {} does not fit {}", q.out_zero, dtype_name(q.out_dtype));
  if (q.out_low < -128 || q.out_high > 255 || q.range().least(is_signed) > q.range().most(is_signed))
    return error(Code::kInvalidModel, "output range {} to {}", q.out_low, q.out_high);
  return {};
}

// For references: stores element i of the output.
inline void store_output(const OutputQuantization& q, Tensor& out, int64_t i, double value) {
  if (q.out_dtype == DType::kF32) {
    out.mutable_data<float>()[i] = static_cast<float>(value);
    return;
  }
  if (q.out_dtype == DType::kBF16) {
    out.mutable_data<BFloat16>()[i] = BFloat16(static_cast<float>(value));
    return;
  }
  const bool is_signed = q.out_dtype == DType::kI8;
  const double steps = std::nearbyint(value / static_cast<double>(q.out_scale)) + static_cast<double>(q.out_zero);
  const double bounded = std::fmin(std::fmax(steps, q.range().least(is_signed)), q.range().most(is_signed));
  if (is_signed)
    out.mutable_data<int8_t>()[i] = static_cast<int8_t>(bounded);
  else
    out.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(bounded);
}

}  // namespace lowp::ops
