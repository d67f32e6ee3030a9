// 2-D convolution on NHWC: out[b, oh, ow, g*Ng + n] = epilogue(sum over kh, kw, c of
//   in[b, oh*stride_h - pad_top + kh*dilation_h, ow*stride_w - pad_left + kw*dilation_w, g*Cg + c] * w[g][(kh, kw, c),
//   n])
// where positions outside the image read zero (float) or in_zero (INT8). Cg = in_c / groups, Ng = out_c / groups.
//
// It is GEMM with M = batch*out_h*out_w, N = Ng, K = (kh, kw, c): numbers, kinds and epilogue are those of gemm.h, and
// padding takes part in the sum like any other value. No im2col of the image: tiles read it through pointers built for
// each chunk of rows; layers with few channels, and others where that was measured to be faster (KernelChoice::gather),
// gather the chunk's patches into scratch. A 1x1, stride 1, unpadded convolution is plain
// GEMM. 1-D convolution: h = 1. Tiles at the edges of the image leave out taps that lie in the padding (order.h), which
// changes no bit of a result while weights are finite.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"

namespace lowp::kernels {

struct ConvArgs {
  int64_t batch = 1;
  int64_t in_h = 0, in_w = 0, in_c = 0;     // in_c: all groups
  int64_t out_h = 0, out_w = 0, out_c = 0;  // out_h and out_w imply the bottom and right padding
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t groups = 1;

  DType in_dtype = DType::kF32;
  WeightKind weight_kind = WeightKind::kF32;
  Int8Class int8_class = Int8Class::kExact8;
  int32_t in_zero = 0;  // INT8: the activations' zero point, what padding reads
  // INT8: the largest sum of an output channel's |weights|, by which winograd_int8.h knows what fits; 0: not known.
  int64_t weight_sum = 0;

  const void* in = nullptr;       // pixel (b, h, w) starts at ((b*in_h + h)*in_w + w) * in_ld
  int64_t in_ld = 0;              // elements between pixels, >= in_c
  const void* weights = nullptr;  // pack_conv
  bool transformed = false;       // winograd() alone: weights are transform_filters'
  void* out = nullptr;
  int64_t out_ld = 0;  // elements between output pixels, >= out_c
  // Elements between output rows and between output images, where pixels do not follow one another (the gradient of a
  // strided convolution); both 0 where they do.
  int64_t out_line = 0, out_image = 0;
  Epilogue epilogue;    // [out_c] bias and scale; residual rows are output pixels
  KernelChoice choice;  // one of conv_candidates()
};

// As gemm_candidates.
std::vector<KernelChoice> conv_candidates(const ConvArgs& args, int threads);

size_t conv_scratch(const ConvArgs& args, int threads);
void conv(const ConvArgs& args, void* scratch, int threads);

}  // namespace lowp::kernels
