// What a target's translation unit of the random family offers.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

struct PhiloxGroup {
  uint32_t step, stream;
  uint32_t key[2];
};

struct RandomTable {
  // Elements 64 group ... of x and y, n of them.
  void (*dropout)(DType dtype, const PhiloxGroup& philox, uint64_t group, const void* x, void* y, int64_t n,
                  float ratio, float factor);
};

}  // namespace lowp::kernels
