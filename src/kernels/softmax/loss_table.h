// What a target's translation unit of the softmax family offers for losses.
#pragma once

#include "kernels/softmax/loss.h"

namespace lowp::kernels {

struct LossTable {
  void (*softmax_gradient)(const SoftmaxGradientArgs& args, int64_t begin, int64_t end);  // rows
  void (*cross_entropy)(const CrossEntropyArgs& args, int64_t begin, int64_t end);
  void (*cross_entropy_gradient)(const CrossEntropyGradientArgs& args, int64_t begin, int64_t end);
  void (*sigmoid_cross_entropy)(DType dtype, const void* x, const void* t, float* loss, int64_t n);
  void (*sigmoid_cross_entropy_gradient)(DType dtype, const void* x, const void* t, const float* scale, bool one_scale,
                                         void* dx, int64_t n);
};

}  // namespace lowp::kernels
