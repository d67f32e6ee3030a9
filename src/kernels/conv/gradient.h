// Gradients of 2-D convolution on NHWC. Operands are stored as f32, bf16 or f16 and computed with in f32, or, where
// both are bf16 and product_kind (gemm.h) says so, by one vdpbf16ps a pair of K (depthwise layers: always f32); weights
// are O x I/groups x KH x KW as the model has them, packed anew in every call.
//
// Input gradient: dx[b, ih, iw, c] = sum over (kh, kw, o) with ih = oh * stride_h - pad_top + kh * dilation_h and
// likewise iw, of dy[b, oh, ow, o] * w[o, c, kh, kw], o over the output channels of c's group. It is a convolution of
// dy for each phase (ih, iw modulo the strides) with the taps that reach the phase, in K order: kh descending, kw
// descending, o; blocks of 256 as in gemm.h, dy outside its image taking part as zero; rounded once to dx's type. Where
// strides are 1, products are f32 and winograd_fits() (winograd.h) says so, it is that convolution by Winograd's way.
//
// Weight gradient: dw[o, c, kh, kw] = sum over output pixels (b, oh, ow) in order of dy[b, oh, ow, o] * x[b, oh *
// stride_h - pad_top + kh * dilation_h, ..., c], zero outside the image: GEMM with K = pixels of the whole batch, in
// blocks of 256 with a fresh accumulator each, partial sums added in block order. db[o] = the sum of dy over the
// pixels, in the same blocks. Both f32. Where winograd_fits() says so and products are f32, dw follows winograd.h.
//
// No bit depends on threads or how the work is cut, nor on the target but for its vdpbf16ps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/gemm/gemm.h"

namespace lowp::kernels {

// As in ConvArgs.
struct ConvShape {
  int64_t batch = 1;
  int64_t in_h = 0, in_w = 0, in_c = 0;
  int64_t out_h = 0, out_w = 0, out_c = 0;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t groups = 1;

  int64_t taps() const { return kernel_h * kernel_w; }
  int64_t pixels() const { return batch * out_h * out_w; }
  bool depthwise() const { return groups == in_c && groups == out_c && groups > 1; }
};

inline constexpr int64_t kMaxGradientTaps = 4096;  // of a kernel, for the gradient of the input

struct ConvInputGradientArgs {
  ConvShape shape;
  DType dy_dtype = DType::kF32, w_dtype = DType::kF32, dx_dtype = DType::kF32;
  const void* dy = nullptr;  // [batch, out_h, out_w, out_c], contiguous
  const void* w = nullptr;
  void* dx = nullptr;  // [batch, in_h, in_w, in_c], contiguous
};
size_t conv_input_gradient_scratch(const ConvInputGradientArgs& args, int threads);
void conv_input_gradient(const ConvInputGradientArgs& args, void* scratch, int threads);

struct ConvWeightGradientArgs {
  ConvShape shape;
  DType x_dtype = DType::kF32, dy_dtype = DType::kF32;
  const void* x = nullptr;   // [batch, in_h, in_w, in_c], contiguous
  const void* dy = nullptr;  // [batch, out_h, out_w, out_c], contiguous
  float* dw = nullptr;       // [out_c, in_c / groups, kernel_h, kernel_w]
  float* db = nullptr;       // [out_c] or null
};
size_t conv_weight_gradient_scratch(const ConvWeightGradientArgs& args, int threads);
void conv_weight_gradient(const ConvWeightGradientArgs& args, void* scratch, int threads);

namespace reference {
// bf16: how bf16 operands are multiplied.
void conv_input_gradient(const ConvInputGradientArgs& args, BF16Products bf16);
void conv_weight_gradient(const ConvWeightGradientArgs& args, BF16Products bf16);
}  // namespace reference

}  // namespace lowp::kernels
