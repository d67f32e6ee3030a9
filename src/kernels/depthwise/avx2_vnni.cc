// AVX2 with AVX-VNNI: INT8 by vpdpbusd.
#include "kernels/depthwise/depthwise_blocks.inl.h"

namespace lowp::avx2_vnni {

extern const kernels::DepthwiseTable depthwise_kernels;
const kernels::DepthwiseTable depthwise_kernels = {choose};

}  // namespace lowp::avx2_vnni
