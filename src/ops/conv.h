// What Conv and its gradients share.
#pragma once

#include "kernels/conv/gradient.h"
#include "kernels/convert/convert.h"
#include "ops/window.h"

namespace lowp::ops {

// The geometry of a Conv of one or two spatial dimensions from the extents of x, w and y in plain order; nullopt where
// kernels do not take it (three dimensions; nothing to compute).
std::optional<kernels::ConvShape> conv_shape(const ConvAttrs& attrs, const Extents& x, const Extents& w,
                                             const Extents& y);

}  // namespace lowp::ops
