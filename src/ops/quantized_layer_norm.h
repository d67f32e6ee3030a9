#pragma once

#include "ops/output_quantization.h"

namespace lowp::ops {

// lowp.LayerNorm(x f32 [..., N], scale f32 [N], bias f32 [N]?, plain_scale f32 [N]?, plain_bias f32 [N]?)
//   -> y out_dtype, plain f32?
// y is LayerNormalization over the last axis, quantized. plain is the same for those who read it in f32, not quantized;
// with plain_scale, of plain_scale and plain_bias (a normalization whose channels quant/equalize.h scales has two).
struct QuantizedLayerNormAttrs : OutputQuantization {
  float epsilon = 1e-5F;
  bool operator==(const QuantizedLayerNormAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple_cat(std::tuple(ir::field("epsilon", &QuantizedLayerNormAttrs::epsilon)),
                          output_quantization_fields<QuantizedLayerNormAttrs>());
  }
};

}  // namespace lowp::ops
