// AVX-512: INT8 by vpmaddwd.
#include "kernels/depthwise/depthwise.inl.h"

namespace lowp::avx512 {

extern const kernels::DepthwiseTable depthwise_kernels;
const kernels::DepthwiseTable depthwise_kernels = {choose_any};

}  // namespace lowp::avx512
