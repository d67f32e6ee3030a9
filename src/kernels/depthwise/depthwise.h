// Depthwise 2-D convolution on NHWC (channel multiplier 1):
//   out[b, oh, ow, c] = epilogue(sum over kh, kw of in[b, oh*stride_h - pad_top + kh*dilation_h, ..., c] * w[(kh, kw),
//   c])
// where positions outside the image read zero (f32) or in_zero (INT8).
//
// Numbers: f32: acc = 0, one fma a tap in order (kh, kw), padding taps included. INT8: u8 or s8 activations x s8
// weights, exact s32. s8 is read as u8 (fold_zero_point with sums over taps: column_sums(w, kh*kw, transposed, kh*kw,
// C)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/gemm/choice.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/pack.h"

namespace lowp::kernels {

struct DepthwiseArgs {
  int64_t batch = 1;
  int64_t in_h = 0, in_w = 0, c = 0;
  int64_t out_h = 0, out_w = 0;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;

  DType in_dtype = DType::kF32;  // kF32, kU8, kI8
  int32_t in_zero = 0;
  // An A7 class, of either kind: u8 activations and in_zero are 0..127; weights need no limit. Targets without VNNI
  // then multiply bytes instead of halves (Zen 3: 1.2x as fast).
  Int8Class int8_class = Int8Class::kExact8;

  const void* in = nullptr;
  int64_t in_ld = 0;              // elements between pixels
  const void* weights = nullptr;  // pack_depthwise: f32 for f32, s8 for u8 and s8
  void* out = nullptr;
  int64_t out_ld = 0;
  Epilogue epilogue;
  KernelChoice choice;  // one of depthwise_candidates()
};

// As gemm_candidates.
std::vector<KernelChoice> depthwise_candidates(const DepthwiseArgs& args, int threads);

size_t depthwise_scratch(const DepthwiseArgs& args, int threads);
void depthwise(const DepthwiseArgs& args, void* scratch, int threads);

}  // namespace lowp::kernels
