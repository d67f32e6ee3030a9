#pragma once

#include "ops/output_quantization.h"

namespace lowp::ops {

// lowp.LayerNorm(x f32 [..., N], scale f32 [N], bias f32 [N]?) -> out_dtype: LayerNormalization over the last axis
// whose result is quantized.
struct QuantizedLayerNormAttrs : OutputQuantization {
  float epsilon = 1e-5F;
  bool operator==(const QuantizedLayerNormAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple_cat(std::tuple(ir::field("epsilon", &QuantizedLayerNormAttrs::epsilon)),
                          output_quantization_fields<QuantizedLayerNormAttrs>());
  }
};

}  // namespace lowp::ops
