#pragma once

#include "ops/output_quantization.h"

namespace lowp::ops {

// lowp.Embedding(rows s8 [V, D], scale f32 [V], indices [...]) -> [..., D].
struct EmbeddingAttrs : OutputQuantization {
  bool operator==(const EmbeddingAttrs&) const = default;
  static constexpr auto fields() { return output_quantization_fields<EmbeddingAttrs>(); }
};

}  // namespace lowp::ops
