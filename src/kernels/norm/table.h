// What a target's translation unit of the norm family offers.
#pragma once

#include "kernels/norm/norm.h"

namespace lowp::kernels {

struct NormTable {
  void (*layer_norm)(const LayerNormArgs& args, int64_t begin, int64_t end);  // rows
  void (*layer_norm_stored)(const LayerNormArgs& args, DType dtype, const void* x, void* y, int64_t begin, int64_t end);
  void (*group_norm)(const GroupNormArgs& args, int64_t begin, int64_t end);  // batch * groups
  void (*l2_normalize)(const float* x, float* y, int64_t rows, int64_t n, float eps);
};

}  // namespace lowp::kernels
