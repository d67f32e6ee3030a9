// The contracts of gemm.h, conv.h and depthwise.h, naive: what tests trust.
#pragma once

#include "kernels/conv/conv.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/gemm/gemm.h"

namespace lowp::kernels::reference {

// bf16: how bf16 weights are multiplied.
void gemm(const GemmArgs& args, BF16Products bf16);
void conv(const ConvArgs& args, BF16Products bf16);
// winograd.h's; filters are O x I x 3 x 3, args.weights is not looked at.
void winograd(const ConvArgs& args, const float* filters);
void depthwise(const DepthwiseArgs& args);
void matmul(const MatmulArgs& args, BF16Products bf16);

// Sums of AMX: s + (even terms + odd terms) of up to 32 products, rounded after each.
float tile_bf16(float s, const float* a, const float* b, int64_t count);
// A lane of vdpbf16ps: p + a[1] b[1] + a[0] b[0], rounded after each product.
float dot_bf16(float p, const float (&a)[2], const float (&b)[2]);

}  // namespace lowp::kernels::reference
