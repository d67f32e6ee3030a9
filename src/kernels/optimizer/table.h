// What a target's translation unit of the optimizer family offers: loops over contiguous elements on one thread.
#pragma once

#include "kernels/optimizer/optimizer.h"

namespace lowp::kernels {

struct OptimizerTable {
  void (*sgd)(const SgdArgs& args, const float* w, const float* g, const float* v, float* w_out, float* v_out,
              int64_t n);
  // kLamb: w_out is u, and w stays.
  void (*adam)(const AdamArgs& args, const float* w, const float* g, const float* m, const float* v, float* w_out,
               float* m_out, float* v_out, int64_t n);
  // w_out = fma(-rate, u, w)
  void (*descend)(float rate, const float* w, const float* u, float* w_out, int64_t n);
  // One block of square_sum; NaN where an element is not finite.
  double (*square_sum)(const float* x, float scale, int64_t n);
};

}  // namespace lowp::kernels
