#pragma once

#include "ops/op_def.h"

namespace lowp::ops {

struct BatchNormAttrs {
  float epsilon = 1e-5F;
  float momentum = 0.9F;
  bool training_mode = false;
  bool operator==(const BatchNormAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("epsilon", &BatchNormAttrs::epsilon), ir::field("momentum", &BatchNormAttrs::momentum),
                      ir::field("training_mode", &BatchNormAttrs::training_mode));
  }
};
struct LayerNormAttrs {
  int64_t axis = -1;
  float epsilon = 1e-5F;
  int64_t stash_type = 1;  // ONNX: dtype of the intermediate; always f32 or wider here
  bool operator==(const LayerNormAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("axis", &LayerNormAttrs::axis), ir::field("epsilon", &LayerNormAttrs::epsilon),
                      ir::field("stash_type", &LayerNormAttrs::stash_type));
  }
};

}  // namespace lowp::ops
