// Convolution weights that vary from run to run, brought into f32 panels (gemm/pack.h) on several threads. Source: O x
// I/groups x KH x KW, contiguous, f32, bf16 or f16; one packed matrix a group.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

// The bytes of pack_conv(kF32, ...), for the forward pass.
void pack_filters_f32(DType dtype, const void* w, int64_t out_c, int64_t in_c_per_group, int64_t taps, int64_t groups,
                      float* dst, int threads);

// For the gradient of the input, which convolves in the other direction: of each group the matrix with K = (t, o) over
// chosen taps and the group's output channels, o fastest, and N = the group's input channels.
size_t packed_flipped_bytes(int64_t out_c, int64_t in_c_per_group, int64_t chosen_count, int64_t groups);
void pack_flipped_f32(DType dtype, const void* w, int64_t out_c, int64_t in_c_per_group, int64_t taps, int64_t groups,
                      const int32_t* chosen, int64_t chosen_count, float* dst, int threads);

// count elements of x as f32.
void expand_f32(DType dtype, const void* x, int64_t count, float* dst, int threads);

// Depthwise weights C x 1 x KH x KW as pack_depthwise has them: [taps][round_up(C, 16)].
void pack_depthwise_f32(DType dtype, const void* w, int64_t c, int64_t taps, float* dst);

}  // namespace lowp::kernels
