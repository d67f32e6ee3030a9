// AVX-512 with VNNI: INT8 by vpdpbusd. Also avx512_bf16's.
#include "kernels/depthwise/depthwise_blocks.inl.h"

namespace lowp::avx512_vnni {

extern const kernels::DepthwiseTable depthwise_kernels;
const kernels::DepthwiseTable depthwise_kernels = {choose};

}  // namespace lowp::avx512_vnni
