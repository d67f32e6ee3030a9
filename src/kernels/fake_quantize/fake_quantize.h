// Quantization that is simulated while a network trains (Jacob et al., "Quantization and training of neural networks
// for efficient integer-arithmetic-only inference", CVPR 2018), and the extremes that ranges follow.
//
//   y  = clamp(round_half_even(x / scale), low, high) * unit      (true division; low and high in steps of the scale)
//   dx = round_half_even(x / scale) in [low, high] ? dy * (unit / scale) : 0   (straight-through, Bengio et al. 2013)
// where a step of y is worth what one of x is, unit = scale, unless channels are equalized (quant/fake_quantization.h).
// So y is DequantizeLinear(QuantizeLinear(x)) of quantize/quantize.h with low and high less the zero point, but for
// NaN, which stays NaN: a step of training that went wrong must be noticed.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

// x, dy, y and dx are [outer, channels, inner], all f32, bf16 or f16 in memory, results rounded to nearest even. The
// vectors are per channel, one value each where channels is 1; scales are positive.
struct FakeQuantizeArgs {
  DType dtype = DType::kF32;
  int64_t outer = 1, channels = 1, inner = 0;
  const float* scale = nullptr;
  const float* low = nullptr;
  const float* high = nullptr;
  const float* unit = nullptr;  // null: scale
};
// y may be x.
void fake_quantize(const FakeQuantizeArgs& args, const void* x, void* y, int threads);
// dx may be dy.
void fake_quantize_gradient(const FakeQuantizeArgs& args, const void* dy, const void* x, void* dx, int threads);

// Least and greatest of 0 and n numbers, NaN ignored.
void extremes_with_zero(DType dtype, const void* x, int64_t n, float* low, float* high, int threads);
// The same for each channel of x [rows, channels].
void channel_extremes_with_zero(DType dtype, const void* x, int64_t rows, int64_t channels, float* low, float* high,
                                int threads);

}  // namespace lowp::kernels
