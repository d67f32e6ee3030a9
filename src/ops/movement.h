// Attributes and arithmetic of data movement that passes need too.
#pragma once

#include "ops/op_def.h"

namespace lowp::ops {

struct TransposeAttrs {
  std::optional<std::vector<int64_t>> perm;  // absent: reversed
  bool operator==(const TransposeAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::field("perm", &TransposeAttrs::perm)); }
};

// What a Slice takes along one axis.
struct SliceRange {
  int64_t start;
  int64_t step;
  int64_t length;
};
// axes and steps may be null.
Result<std::vector<SliceRange>> slice_ranges(const Extents& extents, const Tensor* starts, const Tensor* ends,
                                             const Tensor* axes, const Tensor* steps);

}  // namespace lowp::ops
