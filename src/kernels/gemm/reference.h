// The contracts of gemm.h, conv.h and depthwise.h, naive: what tests trust.
#pragma once

#include "kernels/conv/conv.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/gemm/gemm.h"

namespace lowp::kernels::reference {

// bf16_dot: as targets with vdpbf16ps compute bf16 weights; else bf16 is storage.
void gemm(const GemmArgs& args, bool bf16_dot);
void conv(const ConvArgs& args, bool bf16_dot);
// winograd.h's; filters are O x I x 3 x 3, args.weights is not looked at.
void winograd(const ConvArgs& args, const float* filters);
void depthwise(const DepthwiseArgs& args);
void matmul(const MatmulArgs& args, bool bf16_dot);

// A lane of vdpbf16ps: p + a[1] b[1] + a[0] b[0], rounded after each product.
float dot_bf16(float p, const float (&a)[2], const float (&b)[2]);

}  // namespace lowp::kernels::reference
