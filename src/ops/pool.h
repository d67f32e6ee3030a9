// What the pools and their gradients share.
#pragma once

#include "kernels/pool/pool.h"
#include "ops/window.h"

namespace lowp::ops {

// The geometry of a pool of one or two spatial dimensions from the extents of x and y in plain order.
Result<kernels::PoolArgs> pool_args(const PoolAttrs& attrs, const Extents& x, const Extents& y);

// Calls fn(output index, offset of the plane, offsets of the window's taps inside the image, taps that count as
// padding) for every output position, in order.
Status for_each_window(const PoolAttrs& attrs, const Extents& x, const Extents& y,
                       const std::function<void(int64_t, int64_t, const std::vector<int64_t>&, int64_t)>& fn);

}  // namespace lowp::ops
