// Copies of blocks, which Concat, Split and Slice are made of.
#pragma once

#include "kernels/layout/layout.h"
#include "ops/op_def.h"

namespace lowp::ops {

// Whether elements are whole bytes, as the kernels that move them want.
inline bool whole_bytes(DType t) { return dtype_bits(t) >= 8; }

// A contiguous block of `extents` copied from x + x_offset with x_strides to y + y_offset with y_strides (elements).
struct BlockCopy {
  kernels::StridedCopy copy;
  int64_t x_offset = 0;
  int64_t y_offset = 0;
  bool empty = false;
};
inline BlockCopy block_copy(const Extents& extents, const Extents& x_strides, const Extents& y_strides,
                            int64_t x_offset, int64_t y_offset) {
  BlockCopy b;
  b.x_offset = x_offset;
  b.y_offset = y_offset;
  b.copy.rank = static_cast<int>(extents.size());
  for (size_t i = 0; i < extents.size(); ++i) {
    b.copy.dims[i] = extents[i];
    b.copy.x_strides[i] = x_strides[i];
    b.copy.y_strides[i] = y_strides[i];
    b.empty = b.empty || extents[i] == 0;
  }
  return b;
}
inline void run_copy(const BlockCopy& b, size_t bytes, const void* x, void* y, int threads) {
  if (b.empty) return;
  kernels::strided_copy(b.copy, bytes, static_cast<const char*>(x) + b.x_offset * static_cast<int64_t>(bytes),
                        static_cast<char*>(y) + b.y_offset * static_cast<int64_t>(bytes), threads);
}
inline bool copyable(const LowerContext& ctx) {
  return !ctx.in(0).empty() && ctx.in(0).size() <= kernels::kMaxLayoutRank && whole_bytes(ctx.dtype(0));
}

}  // namespace lowp::ops
