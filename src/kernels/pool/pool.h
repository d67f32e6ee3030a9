// Pooling over NHWC. Output position (oh, ow) reads taps (i, j) at row oh * stride_h + i * dilation_h - pad_top and
// column ow * stride_w + j * dilation_w - pad_left; taps outside the image are skipped.
//
// Floats are stored as f32, bf16 or f16 and computed with in f32; results are rounded once.
// max: the maximum of the taps inside, NaN if any is; -inf (or the type's least) where no tap is inside.
// average, floats: the taps inside are added in the order of (i, j), in blocks of 256 taps inside with a fresh
// accumulator each; y = sum / count. count is the number of taps inside the image, or with count_include_pad inside the
// padded image. average u8, s8: acc = sum (x - x_zero), exact; y = quantize(f32(acc) * x_scale / f32(count)) as in
// quantize.h.
#pragma once

#include <cstddef>
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

// dtype: kF32, kBF16, kF16, kU8 or kI8.
void max_pool(const PoolArgs& args, DType dtype, const void* x, void* y, int threads);

// dtype: kF32, kBF16 or kF16, as for the gradients.
void average_pool(const PoolArgs& args, DType dtype, const void* x, void* y, int threads);

// dx = 0, then for each output position in the order of (oh, ow): dx at its greatest tap += dy. Of equal taps the first
// in the order of (i, j) counts, NaN is greater than anything; a position without taps inside passes nothing on.
size_t max_pool_gradient_scratch(const PoolArgs& args, DType dtype, int threads);
void max_pool_gradient(const PoolArgs& args, DType dtype, const void* dy, const void* x, void* dx, void* scratch,
                       int threads);
// dx[p] = the sum, over the output positions that read p in the order of (oh, ow), of dy / count.
void average_pool_gradient(const PoolArgs& args, DType dtype, const void* dy, void* dx, int threads);
// Whether windows overlap so little that the kernel has room for all that read one position: 1024.
bool average_pool_gradient_supported(const PoolArgs& args);

struct PoolQuantization {
  DType dtype = DType::kU8;  // kU8 or kI8, of x and y
  float x_scale = 1.0f, y_scale = 1.0f;
  int32_t x_zero = 0, y_zero = 0;
};
void average_pool_q8(const PoolArgs& args, const PoolQuantization& quantization, const void* x, void* y, int threads);

// Global pooling is the case kernel = image, no padding, 1 x 1 output; these fill in such arguments.
PoolArgs global_pool_args(int64_t batch, int64_t h, int64_t w, int64_t channels);

}  // namespace lowp::kernels
