// Matrices of f32, bf16 or f16 brought to f32, in their own order or transposed: what products of two operands that
// vary do before they multiply (gemm.h). Exact.
//
//   dst[r * dst_ld + c] = f32(src[r * ld + c])                 for r < rows, c < cols
//   dst[r * dst_ld + c] = f32(src[c * ld + r])                 transposed
// Leading dimensions are in elements; nothing else is read or written. One thread.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

struct ExpandMatrix {
  DType dtype = DType::kF32;  // of src: kF32, kBF16 or kF16
  bool transposed = false;
  const void* src = nullptr;
  int64_t ld = 0;
  int64_t rows = 0, cols = 0;  // of dst
  float* dst = nullptr;
  int64_t dst_ld = 0;
};
void expand_matrix(const ExpandMatrix& matrix);

// Whether a dtype is one of the three in which kernels of training keep activations.
constexpr bool is_stored_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

}  // namespace lowp::kernels
