// What a target's translation unit of the fake_quantize family offers.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

struct FakeQuantizeTable {
  // n elements of one scale; dy null: y, else dx.
  void (*run)(DType dtype, float scale, float unit, float low, float high, const void* dy, const void* x, void* y,
              int64_t n);
  // n elements with a scale each.
  void (*each)(DType dtype, const float* scale, const float* unit, const float* low, const float* high, const void* dy,
               const void* x, void* y, int64_t n);
  void (*extremes)(DType dtype, const void* x, int64_t n, float* low, float* high);
  // low and high [n] take in rows of n elements, `stride` elements apart.
  void (*channel_extremes)(DType dtype, const void* x, int64_t rows, int64_t stride, int64_t n, float* low,
                           float* high);
};

}  // namespace lowp::kernels
