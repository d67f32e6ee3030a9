// Gradients of activations, dx[i] = dy[i] * f'(x[i]), f' computed from x or from y = f(x). Values lie in memory as f32,
// bf16 or f16, are computed in f32 and rounded to nearest even when stored.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

enum class ActivationGradient : uint8_t {
  kRelu,      // y > 0 ? dy : 0
  kSigmoid,   // dy * (y * (1 - y))
  kTanh,      // dy * fnma(y, y, 1)
  kGelu,      // dy * gelu_derivative(x) of simd/math.h
  kGeluTanh,  // dy * gelu_tanh_derivative(x)
  kCount
};

// dx may be dy.
void activation_gradient(ActivationGradient op, DType dtype, const void* dy, const void* x_or_y, void* dx, int64_t n,
                         int threads);

}  // namespace lowp::kernels
