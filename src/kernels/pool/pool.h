// Pooling over NHWC. Output position (oh, ow) reads taps (i, j) at row oh * stride_h + i * dilation_h - pad_top and
// column ow * stride_w + j * dilation_w - pad_left; taps outside the image are skipped.
//
// max: the maximum of the taps inside, NaN if any is; -inf (or the type's least) where no tap is inside.
// average f32: the taps inside are added in the order of (i, j), in blocks of 256 taps inside with a fresh accumulator
// each; y = sum / count. count is the number of taps inside the image, or with count_include_pad inside the padded
// image. average u8, s8: acc = sum (x - x_zero), exact; y = quantize(f32(acc) * x_scale / f32(count)) as in quantize.h.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

struct PoolArgs {
  int64_t batch = 1, in_h = 1, in_w = 1, channels = 1;
  int64_t out_h = 1, out_w = 1;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  bool count_include_pad = false;
};

// dtype: kF32, kU8 or kI8.
void max_pool(const PoolArgs& args, DType dtype, const void* x, void* y, int threads);

void average_pool_f32(const PoolArgs& args, const float* x, float* y, int threads);

struct PoolQuantization {
  DType dtype = DType::kU8;  // kU8 or kI8, of x and y
  float x_scale = 1.0f, y_scale = 1.0f;
  int32_t x_zero = 0, y_zero = 0;
};
void average_pool_q8(const PoolArgs& args, const PoolQuantization& quantization, const void* x, void* y, int threads);

// Global pooling is the case kernel = image, no padding, 1 x 1 output; these fill in such arguments.
PoolArgs global_pool_args(int64_t batch, int64_t h, int64_t w, int64_t channels);

}  // namespace lowp::kernels
