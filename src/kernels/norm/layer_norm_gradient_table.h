// What a target's translation unit of the norm family offers for the gradient of layer normalization.
#pragma once

#include "kernels/norm/layer_norm_gradient.h"

namespace lowp::kernels {

struct LayerNormGradientTable {
  void (*rows)(const LayerNormGradientArgs& args, int64_t begin, int64_t end);     // dx
  void (*columns)(const LayerNormGradientArgs& args, int64_t begin, int64_t end);  // dgamma, dbeta
};

}  // namespace lowp::kernels
