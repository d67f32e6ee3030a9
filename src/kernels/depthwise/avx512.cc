// AVX-512: INT8 by vpmaddwd.
#include "kernels/depthwise/depthwise_blocks.inl.h"

namespace lowp::avx512 {

extern const kernels::DepthwiseTable depthwise_kernels;
const kernels::DepthwiseTable depthwise_kernels = {choose};

}  // namespace lowp::avx512
