// What a target's translation unit of the activation family offers.
#pragma once

#include "kernels/activation/activation.h"

namespace lowp::kernels {

struct ActivationTable {
  void (*gradient)(ActivationGradient op, DType dtype, const void* dy, const void* v, void* dx, int64_t n);
};

}  // namespace lowp::kernels
