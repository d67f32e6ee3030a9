// Moving elements without changing them: transpose, strided copy, fill. Elements are 1, 2, 4 or 8 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lowp::kernels {

constexpr int kMaxLayoutRank = 8;

// y[i0, ...] with dims[] (outermost first) from x[sum i_k x_strides[k]] to y[sum i_k y_strides[k]]; strides in
// elements, zero (repeat) and negative ones allowed for x. The building block of slice, concat, pad, expand and
// transpose; it picks row copies where the innermost strides are 1 and square blocks where x and y are contiguous along
// different dimensions.
struct StridedCopy {
  int rank = 0;
  int64_t dims[kMaxLayoutRank] = {};
  int64_t x_strides[kMaxLayoutRank] = {};
  int64_t y_strides[kMaxLayoutRank] = {};
};
void strided_copy(const StridedCopy& copy, size_t element_bytes, const void* x, void* y, int threads);

// y = transpose(x, perm): y's dimension k is x's dimension perm[k]; both contiguous. NCHW -> NHWC is perm 0 2 3 1.
void transpose(const int64_t* x_shape, const int* perm, int rank, size_t element_bytes, const void* x, void* y,
               int threads);

// count elements of y, each the element_bytes at value.
void fill(const void* value, size_t element_bytes, void* y, int64_t count, int threads);

}  // namespace lowp::kernels
