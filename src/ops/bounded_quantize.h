#pragma once

#include "ops/output_quantization.h"

namespace lowp::ops {

// lowp.Quantize(x f32) -> out_dtype.
struct BoundedQuantizeAttrs : OutputQuantization {
  bool operator==(const BoundedQuantizeAttrs&) const = default;
  static constexpr auto fields() { return output_quantization_fields<BoundedQuantizeAttrs>(); }
};

}  // namespace lowp::ops
