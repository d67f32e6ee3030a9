// The softmax family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/softmax/loss.inl.h"
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

template <typename S>
void softmax_stored_rows(bool log_form, const typename S::T* x, typename S::T* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    F32 m, sum;
    row_moments<S>(x, n, &m, &sum);
    if (log_form) {
      const F32 log_sum = log(sum);
      for_lanes(
          n, [&](int64_t i, int lanes) LOWP_INLINE { S::store(y + i, (S::load(x + i, lanes) - m) - log_sum, lanes); });
    } else {
      const F32 inverse = set(1.0f) / sum;
      for_lanes(n, [&](int64_t i, int lanes)
                       LOWP_INLINE { S::store(y + i, exp_weight(S::load(x + i, lanes) - m) * inverse, lanes); });
    }
  }
}
void softmax_stored(DType dtype, bool log_form, const void* x, void* y, int64_t rows, int64_t n) {
  for_storage(dtype, [&](auto s) {
    using T = typename decltype(s)::T;
    softmax_stored_rows<decltype(s)>(log_form, static_cast<const T*>(x), static_cast<T*>(y), rows, n);
  });
}

}  // namespace

extern const kernels::SoftmaxTable softmax_table;
const kernels::SoftmaxTable softmax_table = {softmax_rows, softmax_stored};

}  // namespace lowp::LOWP_TARGET
