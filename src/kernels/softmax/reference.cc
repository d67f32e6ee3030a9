#include "kernels/softmax/reference.h"

#include "kernels/elementwise/reference.h"
#include "kernels/reduce/reference.h"

namespace lowp::kernels::reference {

void softmax_row(const float* x, const float* mask, bool log, float* y, int64_t n) {
  auto value = [&](int64_t i) { return mask ? x[i] + mask[i] : x[i]; };
  float m = lanes16(
      -INFINITY, n, [&](float acc, int64_t i) { return value(i) > acc ? value(i) : acc; },
      [](float a, float b) { return a > b ? a : b; });
  auto weight = [&](int64_t i) { return value(i) - m < -80.0f ? 0.0f : reference::exp(value(i) - m); };
  float sum = lane_sum(n, weight);
  float inverse = 1.0f / sum, log_sum = reference::log(sum);
  for (int64_t i = 0; i < n; ++i) y[i] = log ? (value(i) - m) - log_sum : weight(i) * inverse;
}

void softmax_f32(const SoftmaxArgs& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* mask = a.mask ? a.mask + r / a.mask_repeat % a.mask_rows * a.n : nullptr;
    softmax_row(a.x + r * a.x_stride, mask, a.log, a.y + r * a.y_stride, a.n);
  }
}

}  // namespace lowp::kernels::reference
