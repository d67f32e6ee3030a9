// Gradients of softmax, and cross-entropy losses with theirs. Values lie in memory as f32, bf16 or f16 (`dtype`), are
// computed in f32 and rounded to nearest even when stored. m, e and s of a row are those of softmax.h; sums over a row
// run in 16 virtual lanes (docs/numerics.md), by fma where a product is summed. A NaN in a row makes the row NaN.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

// Rows [rows, n], contiguous.
//   softmax:     dx = y * (dy - sum(fma dy y))
//   log-softmax: dx = dy - exp(y) * sum(dy)
struct SoftmaxGradientArgs {
  int64_t rows = 0, n = 0;
  DType dtype = DType::kF32;
  bool log = false;
  const void* dy = nullptr;
  const void* y = nullptr;
  void* dx = nullptr;  // may be dy
};
void softmax_gradient(const SoftmaxGradientArgs& args, int threads);

// Scores [rows, classes]; a label outside 0..classes-1 means that the row is left out: its loss and gradient are 0.
struct CrossEntropyArgs {
  int64_t rows = 0, classes = 0;
  DType dtype = DType::kF32;
  const void* x = nullptr;
  const int32_t* labels = nullptr;
  const float* weights = nullptr;  // [classes], or null: 1
  float* loss = nullptr;           // [rows]: -(w * ((x[label] - m) - log(s)))
  void* log_prob = nullptr;        // [rows, classes] or null: (x - m) - log(s)
};
void cross_entropy(const CrossEntropyArgs& args, int threads);

// dx[c] = (e[c] * (1 / s) - (c == label ? 1 : 0)) * scale[row]
struct CrossEntropyGradientArgs {
  int64_t rows = 0, classes = 0;
  DType dtype = DType::kF32;
  const void* x = nullptr;
  const int32_t* labels = nullptr;
  const float* scale = nullptr;  // [rows]
  void* dx = nullptr;            // may be x
};
void cross_entropy_gradient(const CrossEntropyGradientArgs& args, int threads);

// loss[i] = (max(x, 0) - x * t) + log(1 + exp(-|x|)), the binary cross-entropy of sigmoid(x) against t in [0, 1].
void sigmoid_cross_entropy(DType dtype, const void* x, const void* t, float* loss, int64_t n, int threads);
// dx[i] = (sigmoid(x) - t) * scale[i], or all times scale[0] where one_scale.
void sigmoid_cross_entropy_gradient(DType dtype, const void* x, const void* t, const float* scale, bool one_scale,
                                    void* dx, int64_t n, int threads);

}  // namespace lowp::kernels
