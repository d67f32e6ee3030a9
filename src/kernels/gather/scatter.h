// Rows of a gradient added up by the index that they were gathered with (gather.h): the gradient of an embedding. Rows
// of one index are added in order of position in f32, from zero, and rounded once; which thread adds them does not
// matter. dy is f32, bf16 or f16 in memory, results have its dtype. Indices are as in gather.h, inside their limits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

struct ScatterArgs {
  int64_t outer = 1, limit = 0, count = 0;
  int64_t n = 0;  // elements of a row
  DType dtype = DType::kF32;
  const void* dy = nullptr;  // [outer, count, n]
  const void* indices = nullptr;
  DType index_dtype = DType::kI64;
};
// limit and count below 2^31. 64-byte aligned scratch.
size_t scatter_scratch(const ScatterArgs& args);

// y[o, v, :] = sum of dy[o, k, :] over the positions k with indices[k] == v; zeros where there are none.
void scatter_add(const ScatterArgs& args, void* y, void* scratch, int threads);

// The same with outer = 1, of the rows that are there only: rows[i], ascending, is the i-th index that occurs and
// values[i] its sum, for i < count_out; behind them rows are -1 and values 0.
void sparse_rows(const ScatterArgs& args, int64_t* rows, void* values, int64_t* count_out, void* scratch, int threads);

}  // namespace lowp::kernels
