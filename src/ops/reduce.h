#pragma once

#include "ops/op_def.h"

namespace lowp::ops {

struct ReduceAttrs {
  bool keepdims = true;
  bool noop_with_empty_axes = false;
  bool operator==(const ReduceAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("keepdims", &ReduceAttrs::keepdims),
                      ir::field("noop_with_empty_axes", &ReduceAttrs::noop_with_empty_axes));
  }
};
// Which axes a reduction runs over; axes may be null.
Result<std::vector<bool>> reduced_axes(const ReduceAttrs& attrs, size_t rank, const Tensor* axes);

}  // namespace lowp::ops
