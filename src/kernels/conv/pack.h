// Convolution weights that vary from run to run, brought into panels (gemm/pack.h) on several threads. Source: O x
// I/groups x KH x KW, contiguous; one packed matrix a group. Of kind kF32 from elements of f32, bf16 or f16, or kBF16
// from bf16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/gemm/pack.h"

namespace lowp::kernels {

// The bytes of pack_conv, for the forward pass.
void pack_filters(WeightKind kind, DType dtype, const void* w, int64_t out_c, int64_t in_c_per_group, int64_t taps,
                  int64_t groups, void* dst, int threads);

// For the gradient of the input, which convolves in the other direction: of each group the matrix with K = (t, o) over
// chosen taps and the group's output channels, o fastest, and N = the group's input channels.
size_t packed_flipped_bytes(WeightKind kind, int64_t out_c, int64_t in_c_per_group, int64_t chosen_count,
                            int64_t groups);
void pack_flipped(WeightKind kind, DType dtype, const void* w, int64_t out_c, int64_t in_c_per_group, int64_t taps,
                  int64_t groups, const int32_t* chosen, int64_t chosen_count, void* dst, int threads);

// Depthwise weights C x 1 x KH x KW as pack_depthwise has them: [taps][round_up(C, 16)].
void pack_depthwise_f32(DType dtype, const void* w, int64_t c, int64_t taps, float* dst);

}  // namespace lowp::kernels
