#include "kernels/gemm/epilogue.h"

#include <cmath>
#include <limits>

namespace lowp::kernels {

OutputRange output_range(const Epilogue& e) {
  const bool relu = e.activation == Activation::kRelu, clip = e.activation == Activation::kClip;
  const bool is_all = relu || clip || e.activation == Activation::kNone;
  if (e.out != DType::kU8 && e.out != DType::kI8) {
    constexpr float kNone = std::numeric_limits<float>::infinity();
    return {clip ? e.lo : relu ? 0.0f : -kNone, clip ? e.hi : kNone, 0, 0, is_all};
  }
  const bool is_signed = e.out == DType::kI8;
  const float least = static_cast<float>(e.out_range.least(is_signed) - e.out_zero),
              most = static_cast<float>(e.out_range.most(is_signed) - e.out_zero);
  float lower = least, upper = most;
  if (relu) lower = lower > 0.0f ? lower : 0.0f;
  if (clip) {
    const float clip_lo = e.lo * e.out_inv_scale, clip_hi = e.hi * e.out_inv_scale;
    lower = lower > clip_lo ? lower : clip_lo;
    upper = upper < clip_hi ? upper : clip_hi;
  }
  // A clip range outside what the format holds saturates to the nearer end; a lower end above the upper one yields to
  // it.
  lower = lower < most ? lower : most;
  upper = upper > least ? upper : least;
  lower = lower < upper ? lower : upper;
  const auto stored = [&](float steps) { return static_cast<int32_t>(std::rint(steps)) + e.out_zero; };
  return {lower, upper, stored(lower), stored(upper), is_all};
}

}  // namespace lowp::kernels
