// What a target's translation unit of the gather family offers.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

struct ScatterTable {
  // y[0..n) = sum of the rows of x (n elements each) at the low 32 bits of positions[0..count), in order.
  void (*add_rows)(DType dtype, const void* x, const uint64_t* positions, int64_t count, void* y, int64_t n);
};

}  // namespace lowp::kernels
