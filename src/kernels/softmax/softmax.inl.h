// The softmax family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/softmax/row.inl.h"
#include "kernels/softmax/table.h"

namespace lowp::LOWP_TARGET {
namespace {

void softmax_rows(const kernels::SoftmaxArgs& a, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x + r * a.x_stride;
    float* y = a.y + r * a.y_stride;
    if (a.mask) {
      const float* mask = a.mask + r / a.mask_repeat % a.mask_rows * a.n;
      (a.log ? softmax_row<true, true> : softmax_row<true, false>)(x, mask, y, a.n);
    } else {
      (a.log ? softmax_row<false, true> : softmax_row<false, false>)(x, nullptr, y, a.n);
    }
  }
}

}  // namespace

extern const kernels::SoftmaxTable softmax_table;
const kernels::SoftmaxTable softmax_table = {softmax_rows};

}  // namespace lowp::LOWP_TARGET
