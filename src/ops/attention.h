#pragma once

#include "ops/output_quantization.h"

namespace lowp::ops {

// lowp.Attention(q, k, v, mask?): q [B, S, heads * D], k [B, T, heads * D], v [B, T, heads * DV] -> [B, S, heads * DV].
// y = softmax(scale * q k^T + mask) v for each head. mask is additive and broadcasts to [B, heads, S, T]; its last
// dimension is T.
struct AttentionAttrs : OutputQuantization {
  int64_t heads = 1;
  float scale = 1;
  bool operator==(const AttentionAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple_cat(
        std::tuple(ir::required_field("heads", &AttentionAttrs::heads), ir::field("scale", &AttentionAttrs::scale)),
        output_quantization_fields<AttentionAttrs>());
  }
};

}  // namespace lowp::ops
