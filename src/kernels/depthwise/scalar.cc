// Plain C++, also emu512's.
#include "kernels/depthwise/depthwise.inl.h"

namespace lowp::scalar {

extern const kernels::DepthwiseTable depthwise_kernels;
const kernels::DepthwiseTable depthwise_kernels = {any_tile_f32, any_tile_s8, expand_pairs};

}  // namespace lowp::scalar
