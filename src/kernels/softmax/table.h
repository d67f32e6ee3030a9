// What a target's translation unit of the softmax family offers.
#pragma once

#include "kernels/softmax/softmax.h"

namespace lowp::kernels {

struct SoftmaxTable {
  void (*rows)(const SoftmaxArgs& args, int64_t begin, int64_t end);
};

}  // namespace lowp::kernels
