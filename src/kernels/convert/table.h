// What a target's translation unit of the convert family offers.
#pragma once

#include "kernels/convert/convert.h"

namespace lowp::kernels {

struct ConvertTable {
  void (*expand)(const ExpandMatrix& matrix);
  void (*widen)(DType from, const void* x, float* y, int64_t n);
  void (*narrow)(DType to, const float* x, void* y, int64_t n);
  void (*pair_panel)(const PairPanel& panel);
  void (*transpose_words)(const TransposeWords& matrix);
};

}  // namespace lowp::kernels
