// The contract of norm.h, naively, for tests.
#pragma once

#include "kernels/norm/norm.h"

namespace lowp::kernels::reference {

void layer_norm_f32(const LayerNormArgs& args);
void group_norm_f32(const GroupNormArgs& args);
void l2_normalize_f32(const float* x, float* y, int64_t rows, int64_t n, float eps);

}  // namespace lowp::kernels::reference
