// Rows by index: Gather along an axis, and embeddings.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/stored_range.h"

namespace lowp::kernels {

// Position of the first index outside [-limit, limit), or -1 where all are inside. indices is int32 or int64 by dtype
// (kI32, kI64). Call before gather, which does not check.
int64_t find_bad_index(const void* indices, DType index_dtype, int64_t count, int64_t limit);

// y[o, k, :] = x[o, indices[k], :]: x is [outer, limit, row], y is [outer, count, row], a row is row_bytes long.
// A negative index counts from the end.
struct GatherArgs {
  int64_t outer = 1, limit = 0, count = 0;
  int64_t row_bytes = 0;
  const void* x = nullptr;
  const void* indices = nullptr;
  DType index_dtype = DType::kI64;
  void* y = nullptr;
  int64_t y_step = 0;  // bytes between rows of y; 0: they follow each other
};
void gather(const GatherArgs& args, int threads);

// Embedding from INT8 rows with a scale each: y[k, i] = f32(x[indices[k], i]) * scale[indices[k]], quantized as in
// quantize.h where y_dtype is kU8 or kI8.
struct GatherS8Args {
  int64_t limit = 0, count = 0, n = 0;
  const int8_t* x = nullptr;     // [limit, n]
  const float* scale = nullptr;  // [limit]
  const void* indices = nullptr;
  DType index_dtype = DType::kI64;
  void* y = nullptr;  // [count, n]
  DType y_dtype = DType::kF32;
  float y_scale = 1.0f;
  int32_t y_zero = 0;
  StoredRange y_range;
  int64_t y_ld = 0;  // elements between rows of y; 0: they follow each other
};
void gather_s8(const GatherS8Args& args, int threads);

}  // namespace lowp::kernels
