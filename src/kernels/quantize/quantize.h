// Quantization, dequantization and casts between f32, bf16 and f16, contiguous.
//
//   quantize:    y = clamp(round_half_even(x / scale) + zero_point, range)   (true division, as ONNX says)
//   dequantize:  y = f32(x - zero_point) * scale
// The rounded quotient is clamped to the range minus zero_point before it becomes an integer, so huge and infinite
// values saturate; NaN gives zero_point. Scales are positive.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/stored_range.h"

namespace lowp::kernels {

// x, y are [outer, channels, inner]; scale and zero_point are per channel, and one value each where channels is 1.
struct QuantizeArgs {
  DType dtype = DType::kU8;  // the 8-bit side: kU8 or kI8
  int64_t outer = 1, channels = 1, inner = 0;
  const float* scale = nullptr;         // [channels]
  const int32_t* zero_point = nullptr;  // [channels], or null for zeros
  StoredRange range;                    // quantize only
};
void quantize_f32(const QuantizeArgs& args, const float* x, void* y, int threads);
void dequantize_f32(const QuantizeArgs& args, const void* x, float* y, int threads);
// As dequantize_f32 for s32 (biases and accumulators): y = f32(x - zero_point) * scale, f32() to nearest even.
void dequantize_s32(const QuantizeArgs& args, const int32_t* x, float* y, int threads);

// Casts to nearest even, NaN stays NaN; f16 overflows to infinity. bits are those of BFloat16 and Float16.
void f32_to_bf16(const float* x, uint16_t* y, int64_t n, int threads);
void bf16_to_f32(const uint16_t* x, float* y, int64_t n, int threads);
void f32_to_f16(const float* x, uint16_t* y, int64_t n, int threads);
void f16_to_f32(const uint16_t* x, float* y, int64_t n, int threads);

// Least and greatest of n values, NaNs ignored; lo = +inf and hi = -inf where there is none. For observers and for
// DynamicQuantizeLinear.
void min_max_f32(const float* x, int64_t n, float* lo, float* hi, int threads);

}  // namespace lowp::kernels
