// AVX-512, also that of its extensions.
#include "kernels/depthwise/depthwise.inl.h"

namespace lowp::avx512 {

extern const kernels::DepthwiseTable depthwise_kernels;
const kernels::DepthwiseTable depthwise_kernels = {any_tile_f32, any_tile_s8, expand_pairs};

}  // namespace lowp::avx512
