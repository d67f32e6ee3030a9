// What a target's translation unit of the softmax family offers.
#pragma once

#include "kernels/softmax/softmax.h"

namespace lowp::kernels {

struct SoftmaxTable {
  void (*rows)(const SoftmaxArgs& args, int64_t begin, int64_t end);
  void (*rows_stored)(DType dtype, bool log, const void* x, void* y, int64_t rows, int64_t n);
};

}  // namespace lowp::kernels
