// Batch normalization of [rows, channels], rows being N x space of channels-last images. Activations and their
// gradients are stored as f32, bf16 or f16 (one type a call), everything for a channel is f32.
//
// Statistics of a channel, over blocks of 256 rows, all sums in the order of rows:
//   m = sum(x) / n,  q = sum by fma of (x - m)^2                                   of each block of n rows
//   blocks are joined in order (Chan, Golub and LeVeque 1979), the first as it is, a further one as
//   d = m - mean, r = n / (seen + n), mean = fma(d, r, mean), M2 = fma(d * d, seen * r, M2 + q), seen = seen + n
//   inv_std = 1 / sqrt(M2 / rows + eps),  variance = M2 / max(rows - 1, 1), what PyTorch's running variance is fed
// Forward:  a = inv_std * scale,  v = fma(x - mean, a, bias) (+ residual),  y = relu ? max(0, v) : v
// Backward, with g = dy, or where there was a relu dy for v > 0 and else 0 (where y is given, for y > 0):
//   s = sum(g),  p = sum by fma of g * (x - mean)      in blocks of 256 rows, partial sums added in block order
//   dbias = s,  dscale = p * inv_std,  dresidual = g
//   dx = a * (g - s / rows - (x - mean) * c),  c = dscale * inv_std / rows,  as a * fnma(x - mean, c, g - s / rows)
// No bit depends on threads or targets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

inline constexpr int64_t kBatchNormBlock = 256;  // rows

struct BatchNormArgs {
  int64_t rows = 0, channels = 0;
  DType dtype = DType::kF32;
  float eps = 1e-5f;
  bool relu = false;
  const void* x = nullptr;  // [rows, channels], contiguous like all of these
  const float* scale = nullptr;
  const float* bias = nullptr;
  const void* residual = nullptr;  // or null
  void* y = nullptr;               // may be x or residual
  // batch_norm writes these, normalize_channels reads the first two.
  float* mean = nullptr;
  float* inv_std = nullptr;
  float* variance = nullptr;  // or null
};
// Bytes of scratch of batch_norm and batch_norm_gradient.
size_t batch_norm_scratch(int64_t rows, int64_t channels);
void batch_norm(const BatchNormArgs& args, void* scratch, int threads);
// The forward formula with given statistics.
void normalize_channels(const BatchNormArgs& args, int threads);
// 1 / sqrt(variance + eps)
void inverse_std(const float* variance, float eps, int64_t channels, float* inv_std);

struct BatchNormGradientArgs {
  int64_t rows = 0, channels = 0;
  DType dtype = DType::kF32;
  bool relu = false;
  const void* dy = nullptr;
  const void* x = nullptr;
  const float* scale = nullptr;
  const float* mean = nullptr;
  const float* inv_std = nullptr;
  const float* bias = nullptr;  // relu without y
  const void* y = nullptr;      // relu: or null
  void* dx = nullptr;           // or null; may be x, and dy where there is no dresidual
  void* dresidual = nullptr;    // or null; may be dy
  float* dscale = nullptr;
  float* dbias = nullptr;
};
void batch_norm_gradient(const BatchNormGradientArgs& args, void* scratch, int threads);

namespace reference {
void batch_norm(const BatchNormArgs& args);
void batch_norm_gradient(const BatchNormGradientArgs& args);
}  // namespace reference

}  // namespace lowp::kernels
