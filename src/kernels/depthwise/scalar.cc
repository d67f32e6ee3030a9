// Plain C++, also emu512's: the code of VNNI, emulated.
#include "kernels/depthwise/depthwise.inl.h"

namespace lowp::scalar {

extern const kernels::DepthwiseTable depthwise_kernels;
const kernels::DepthwiseTable depthwise_kernels = {choose_any};

}  // namespace lowp::scalar
