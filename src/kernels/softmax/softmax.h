// Softmax and log-softmax over rows of f32.
//
//   v[i] = x[i] + mask[i]             (x[i] without a mask)
//   m = max v[i]                      (of those that are not NaN)
//   e[i] = exp(v[i] - m), 0 where v[i] - m < -80;  s = sum e[i] in 16 virtual lanes (docs/numerics.md)
//   softmax: y[i] = e[i] * (1 / s)    log-softmax: y[i] = (v[i] - m) - log(s)
// A NaN makes the whole row NaN, and so does a row of -inf only, as the formula says.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

struct SoftmaxArgs {
  int64_t rows = 0, n = 0;
  bool log = false;
  const float* x = nullptr;  // [rows, n], rows x_stride apart
  int64_t x_stride = 0;
  float* y = nullptr;  // may be x
  int64_t y_stride = 0;
  const float* mask = nullptr;  // additive, or null; row r reads mask + (r / mask_repeat) % mask_rows * n
  int64_t mask_rows = 1;
  int64_t mask_repeat = 1;
};

void softmax_f32(const SoftmaxArgs& args, int threads);
// The same without a mask, x and y [rows, n] contiguous in memory as f32, bf16 or f16: computed in f32 and rounded
// once.
void softmax_stored(DType dtype, bool log, const void* x, void* y, int64_t rows, int64_t n, int threads);

}  // namespace lowp::kernels
