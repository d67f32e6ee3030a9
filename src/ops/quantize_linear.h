#pragma once

#include "ops/op_def.h"

namespace lowp::ops {

// QuantizeLinear and DequantizeLinear.
struct QuantizeAttrs {
  int64_t axis = 1;
  int64_t block_size = 0;
  DType output_dtype = DType::kInvalid;
  DType precision = DType::kInvalid;  // of the quotient; f32 here
  bool saturate = true;
  bool operator==(const QuantizeAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("axis", &QuantizeAttrs::axis), ir::field("block_size", &QuantizeAttrs::block_size),
                      ir::field("output_dtype", &QuantizeAttrs::output_dtype),
                      ir::field("precision", &QuantizeAttrs::precision),
                      ir::field("saturate", &QuantizeAttrs::saturate));
  }
};

}  // namespace lowp::ops
