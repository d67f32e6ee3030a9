// The steps that a range of floats is divided into, and lowp.FakeQuantize's attributes.
#pragma once

#include <utility>

#include "ops/op_def.h"

namespace lowp::ops {

struct QuantizationSteps {
  float scale = 1;
  int32_t zero = 0;  // the stored number of 0.0
};
// Of activations, stored in 0..levels: scale = (high - low) / levels, zero = rne(-low / scale). The range is made to
// contain zero; of an empty one any scale represents all there is.
QuantizationSteps activation_steps(float low, float high, int64_t levels);
// Of weights, stored in -127..127: scale = max(|low|, |high|) / 127; 1 where that is 0.
QuantizationSteps weight_steps(float low, float high);
// The range that follows on [low, high] where a batch's extremes are [least, most], which contains 0: the average with
// what the batch counts for, or those extremes where low == high == 0, which is how ranges begin.
std::pair<float, float> next_range(float momentum, float low, float high, float least, float most);

struct FakeQuantizeAttrs {
  int64_t levels = 255;  // of activations: 255 (u8) or 127 (seven bits)
  bool symmetric = false;
  int64_t axis = 0;  // of channels, where low and high are vectors
  bool operator==(const FakeQuantizeAttrs&) const = default;
  static constexpr auto fields() {
    using S = FakeQuantizeAttrs;
    return std::tuple(ir::field("levels", &S::levels), ir::field("symmetric", &S::symmetric),
                      ir::field("axis", &S::axis));
  }
};

}  // namespace lowp::ops
