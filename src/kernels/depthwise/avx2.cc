// AVX2, also avx2_vnni's.
#include "kernels/depthwise/depthwise.inl.h"

namespace lowp::avx2 {

extern const kernels::DepthwiseTable depthwise_kernels;
const kernels::DepthwiseTable depthwise_kernels = {any_tile_f32, any_tile_s8, expand_pairs};

}  // namespace lowp::avx2
