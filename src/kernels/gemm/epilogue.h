// What happens to an accumulator before it is stored: shared by gemm, conv and depthwise.
//
// Float kinds (acc is f32):   y = act((acc + bias[n]) + r), a bias of -0 counting as 0
// INT8 (acc is s32):          y = act(f32(acc + bias_s32[n]) * scale[n]  (+)  r)
//
// where r is the residual, left out when there is none:
//   f32:    r = residual[m, n]
//   bf16, f16: r = f32(residual[m, n])
//   u8, s8: r = f32(residual[m, n] - residual_zero) * residual_scale
// A float residual is added (one rounding); a u8 or s8 one is y = fma(f32(q - zero), residual_scale, y). No other
// multiply-add is fused. f32(s32) rounds to nearest even; acc + bias_s32 must not leave s32 (K <= kMaxInt8K keeps acc
// in).
//
// INT8 to INT8 (out u8 or s8, no activation but relu and clip, residual none, u8 or s8) takes one multiplication less:
//   m[n] = scale[n] * out_inv_scale, rm = residual_scale * out_inv_scale, each rounded once,
//   y out_inv_scale is  f32(acc + bias_s32[n]) * m[n],  or with a residual
//                       fma(f32(residual[m, n]), rm, fma(f32(acc + bias_s32[n]), m[n], -(f32(residual_zero) * rm)))
//
// Stores: f32 as is; bf16 and f16 round to nearest even; u8 and s8:
//   q = s32(rne(clamp(y * out_inv_scale, qmin - out_zero, qmax - out_zero))) + out_zero, [qmin, qmax] being out_range
// out_inv_scale is 1 / scale, rounded once by the caller: a multiplication, where ONNX's QuantizeLinear divides; the
// two differ only where y / scale lies within an ulp of a tie. relu and clip join the clamp, which changes no bit; NaN
// gives the lower end of the clamp. Channels may have steps of their own, out_inv_scales[n]; not with the activations
// none, relu and clip, where scale[n] does as well.
//
// Activations, in f32: relu(x) = 0 > x ? 0 : x;  clip(x) = min(hi, max(lo, x)); both keep NaN in float outputs;
// leaky_relu = x < 0 ? alpha * x : x; the others are the functions of simd/math.h (gelu, gelu_coarse, gelu_tanh,
// sigmoid, tanh, silu, hard_swish), so fused and separate activations have the same bits.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/stored_range.h"

namespace lowp::kernels {

enum class Activation : uint8_t {
  kNone,
  kRelu,
  kClip,        // lo, hi
  kGelu,        // erf
  kGeluCoarse,  // the same within 1.3e-4: for quantized outputs with steps of kCoarseStep and more
  kGeluTanh,
  kSigmoid,
  kTanh,
  kSilu,
  kHardSwish,
  kLeakyRelu,  // alpha
};

// Rounding to such a step leaves 2.2 times as much, in the mean square, as kGeluCoarse may be off at most. Channels
// that equalization made fine steps for are the smallest.
inline constexpr float kCoarseStep = 0x1p-10f;

struct Epilogue {
  const float* bias = nullptr;  // float kinds, [N]; may be null
  const int32_t* bias_s32 =
      nullptr;                   // INT8, [N], zero-point correction included (fold_zero_point in pack.h); may be null
  const float* scale = nullptr;  // INT8, [N], activation scale * weight scale[n]; required there

  const void* residual = nullptr;  // [M, N], same row order as the output; may be null; may be the output itself if
                                   // dtypes agree
  DType residual_dtype = DType::kF32;
  int64_t residual_ld = 0;  // elements between rows
  float residual_scale = 1.0f;
  int32_t residual_zero = 0;

  Activation activation = Activation::kNone;
  float lo = 0.0f, hi = 0.0f;
  float alpha = 0.0f;

  DType out = DType::kF32;  // kF32, kBF16, kF16, kU8, kI8
  float out_inv_scale = 1.0f;
  const float* out_inv_scales = nullptr;  // [N], in place of out_inv_scale; or null
  int32_t out_zero = 0;
  StoredRange out_range;
};

// What values are limited to before they are stored, relu and clip included. Quantized outputs: in steps of the output,
// above its zero point; `low` and `high` are the ends as they are stored. Float outputs: no limit is an infinite one.
// Steps of the output that a unit of the sum, and of a residual, may be so that the result fits s32.
inline constexpr float kMostStepsOfSum = 0.5f, kMostStepsOfResidual = 0x1p20f;

struct OutputRange {
  float lower, upper;
  int32_t low, high;
  bool is_all;  // activation is none, relu or clip: nothing is to be done but this
};
OutputRange output_range(const Epilogue& e);

}  // namespace lowp::kernels
