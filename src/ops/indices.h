// Indices of rows, which are data: checked when a step runs.
#pragma once

#include "kernels/gather/gather.h"
#include "ops/op_def.h"

namespace lowp::ops {

inline Status bad_index(int64_t index, int64_t position, int64_t limit) {
  return error(Code::kInvalidArgument, "index {} at position {} is outside an axis of {}", index, position, limit);
}

// Whether the `count` indices (kI32 or kI64) of the operand are in [-limit, limit). If not, the step's status names the
// first that is not and its position in the whole batch.
inline bool indices_fit(const StepArgs& s, size_t operand, DType dtype, int64_t count, int64_t limit) {
  const int64_t bad = kernels::find_bad_index(s.inputs[operand], dtype, count, limit);
  if (bad < 0) return true;
  const int64_t index = dtype == DType::kI64 ? s.in<int64_t>(operand)[bad] : s.in<int32_t>(operand)[bad];
  *s.status = bad_index(index, s.slice * count + bad, limit);
  return false;
}

}  // namespace lowp::ops
