#pragma once

#include "ops/output_quantization.h"

namespace lowp::ops {

// lowp.Attention(q, k, v, mask?): q [B, S, heads * D], k [B, T, heads * D], v [B, T, heads * DV] -> [B, S, heads * DV].
// y = softmax(scale * q k^T + mask) v for each head. mask is additive and broadcasts to [B, heads, S, T]; its last
// dimension is T. s16: in integers of 12 bits (kernels/attention/attention.h), which INT8 models use.
struct AttentionAttrs : OutputQuantization {
  int64_t heads = 1;
  float scale = 1;
  bool s16 = false;
  bool operator==(const AttentionAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple_cat(
        std::tuple(ir::required_field("heads", &AttentionAttrs::heads), ir::field("scale", &AttentionAttrs::scale),
                   ir::field("s16", &AttentionAttrs::s16)),
        output_quantization_fields<AttentionAttrs>());
  }
};

}  // namespace lowp::ops
