// What a target's translation unit of the elementwise family offers.
#pragma once

#include <cstdint>

#include "kernels/elementwise/elementwise.h"

namespace lowp::kernels {

// Two inner loops of a binary operation: rows apart by the row strides, n elements with inner strides 0 or 1.
struct BinaryRun {
  int64_t rows, n;
  int64_t a_row, b_row, y_row;
  int a_step, b_step;
};

struct ElementwiseTable {
  void (*unary)(Unary op, UnaryParams params, const float* x, float* y, int64_t n);
  void (*binary)(Binary op, const BinaryRun& run, const float* a, const float* b, float* y);
  void (*binary_q8)(const QuantizedBinaryArgs& args, const BinaryRun& run, const uint8_t* a, const uint8_t* b,
                    uint8_t* y);
  // y = fma(x, scale, shift), n elements with one scale, or one each; shift may be null.
  void (*scale_shift_run)(const float* x, float scale, const float* shift, float* y, int64_t n);
  void (*scale_shift_each)(const float* x, const float* scale, const float* shift, float* y, int64_t n);
};

}  // namespace lowp::kernels
