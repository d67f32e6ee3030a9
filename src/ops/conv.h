// What Conv and its gradients share.
#pragma once

#include "kernels/conv/gradient.h"
#include "ops/window.h"

namespace lowp::ops {

// Types of Conv's operands and results as its kernels take them.
constexpr bool is_kernel_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

// The geometry of a Conv of one or two spatial dimensions from the extents of x, w and y in plain order; nullopt where
// kernels do not take it (three dimensions; nothing to compute).
std::optional<kernels::ConvShape> conv_shape(const ConvAttrs& attrs, const Extents& x, const Extents& w,
                                             const Extents& y);

}  // namespace lowp::ops
