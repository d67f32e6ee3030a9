// The contract of softmax.h, naively, for tests.
#pragma once

#include "kernels/softmax/softmax.h"

namespace lowp::kernels::reference {

void softmax_row(const float* x, const float* mask, bool log, float* y, int64_t n);
void softmax_f32(const SoftmaxArgs& args);

}  // namespace lowp::kernels::reference
