// AVX2: INT8 by vpmaddwd.
#include "kernels/depthwise/depthwise.inl.h"

namespace lowp::avx2 {

extern const kernels::DepthwiseTable depthwise_kernels;
const kernels::DepthwiseTable depthwise_kernels = kDepthwise;

}  // namespace lowp::avx2
