// What a target's translation unit of the reduce family offers.
#pragma once

#include "kernels/reduce/reduce.h"

namespace lowp::kernels {

struct ReduceTable {
  // y[r] = op(x[r, :]) for rows of n contiguous elements.
  void (*rows)(Reduce op, const float* x, float* y, int64_t rows, int64_t n);
  // y[c] = op(x[:, c]) for c in [begin, end) of one [n, inner] matrix.
  void (*columns)(Reduce op, const float* x, float* y, int64_t n, int64_t inner, int64_t begin, int64_t end);
};

}  // namespace lowp::kernels
