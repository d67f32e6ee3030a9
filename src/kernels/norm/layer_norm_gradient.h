// The gradient of layer normalization, y = fma(xhat, gamma, beta) with xhat = (x - mean) * inv_std over rows [rows, n]:
//
//   s = dy * gamma,  a = sum(s) / n,  b = sum(fma s xhat) / n         sums in 16 virtual lanes (docs/numerics.md)
//   dx = fnma(xhat, b, s - a) * inv_std
//   dgamma = sum over rows of fma(dy, xhat), dbeta = sum over rows of dy    in blocks of 256 rows, added in block order
//
// dy, x and dx are f32, bf16 or f16 in memory; everything else is f32.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

struct LayerNormGradientArgs {
  int64_t rows = 0, n = 0;
  DType dtype = DType::kF32;
  const void* dy = nullptr;
  const void* x = nullptr;
  const float* gamma = nullptr;    // [n]
  const float* mean = nullptr;     // [rows], as layer_norm_f32 gives them
  const float* inv_std = nullptr;  // [rows]
  void* dx = nullptr;              // or null
  float* dgamma = nullptr;         // [n] or null
  float* dbeta = nullptr;          // [n] or null
};
void layer_norm_gradient(const LayerNormGradientArgs& args, int threads);

}  // namespace lowp::kernels
