// Normalizations of f32. Sums run in 16 virtual lanes (docs/numerics.md); division and square root are true.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/stored_range.h"

namespace lowp::kernels {

// Over each row of [rows, n]:
//   s = x + residual                              (x without a residual)
//   layer norm: mean = sum(s) / n, d = s - mean   RMS norm: d = s
//   inv = 1 / sqrt(sum(fma d d) / n + eps)
//   y = fma(d * inv, gamma, beta)                 (d * inv * gamma without beta, d * inv + beta without gamma)
// and, in the same pass, any of: sum_out = s, mean and inv_std per row, quantized = quantize(y) as in quantize.h, or
// with q_gamma of fma(d * inv, q_gamma, q_beta) (d * inv * q_gamma without q_beta).
struct LayerNormArgs {
  int64_t rows = 0, n = 0;
  bool rms = false;
  float eps = 1e-5f;
  const float* x = nullptr;         // [rows, n], contiguous like all of these
  const float* residual = nullptr;  // or null
  const float* gamma = nullptr;     // [n] or null
  const float* beta = nullptr;      // [n] or null
  float* y = nullptr;               // or null; may be x or residual
  float* sum_out = nullptr;         // or null; may be x or residual, not y
  float* mean_out = nullptr;        // [rows] or null
  float* inv_std_out = nullptr;     // [rows] or null
  void* quantized = nullptr;        // [rows, n] of q_dtype, or null
  DType q_dtype = DType::kU8;       // kU8 or kI8
  float q_scale = 1.0f;
  int32_t q_zero = 0;
  StoredRange q_range;
  const float* q_gamma = nullptr;  // [n] or null
  const float* q_beta = nullptr;   // [n] or null; not without q_gamma
};
void layer_norm_f32(const LayerNormArgs& args, int threads);
// The same of x and y that lie in memory as f32, bf16 or f16 (those of args do not count), rounded once. Without
// residual, sum_out and quantized.
void layer_norm_stored(const LayerNormArgs& args, DType dtype, const void* x, void* y, int threads);

// Group normalization of contiguous [batch, channels, inner]; groups = channels is instance normalization. Each group's
// channels / groups * inner elements are one row of the formula above; gamma and beta are per channel:
//   y = fma(d * inv, gamma[c], beta[c])
struct GroupNormArgs {
  int64_t batch = 0, channels = 0, inner = 0, groups = 1;
  float eps = 1e-5f;
  const float* x = nullptr;
  const float* gamma = nullptr;  // [channels]
  const float* beta = nullptr;   // [channels]
  float* y = nullptr;            // may be x
};
void group_norm_f32(const GroupNormArgs& args, int threads);

// y = x / max(sqrt(sum(fma x x)), eps) over each row of [rows, n]; y may be x.
void l2_normalize_f32(const float* x, float* y, int64_t rows, int64_t n, float eps, int threads);

}  // namespace lowp::kernels
