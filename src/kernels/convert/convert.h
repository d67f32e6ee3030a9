// Matrices of f32, bf16 or f16 brought to f32, in their own order or transposed: what products of two operands that
// vary do before they multiply (gemm.h). Exact.
//
//   dst[r * dst_ld + c] = f32(src[r * ld + c])                 for r < rows, c < cols
//   dst[r * dst_ld + c] = f32(src[c * ld + r])                 transposed
// Leading dimensions are in elements; nothing else is read or written. One thread.
#pragma once

#include <cstddef>
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

// The same for products of bf16 (product_kind in gemm.h): elements of 16 bits stay what they are, f32 is rounded to
// bf16.
//   pair_panel       a panel of K2N16 (gemm/pack.h) of B [rows, cols], cols <= 16:
//                      dst[k / 2 * 32 + n * 2 + k % 2] = src[k * ld + n], or src[n * ld + k] transposed
//                    Columns from cols on, and the second half of the last pair where rows is odd, are zero.
//   transpose_words  dst[r * dst_ld + c] = src[c * ld + r] for r < rows, c < cols
struct PairPanel {
  DType dtype = DType::kBF16;  // of src: kF32 or 16 bits
  bool transposed = false;
  const void* src = nullptr;
  int64_t ld = 0;
  int64_t rows = 0;
  int cols = 0;
  void* dst = nullptr;
};
void pair_panel(const PairPanel& panel);
struct TransposeWords {
  DType dtype = DType::kBF16;  // of src: kF32 or 16 bits
  const void* src = nullptr;
  int64_t ld = 0;
  int64_t rows = 0, cols = 0;  // of dst
  void* dst = nullptr;
  int64_t dst_ld = 0;
};
void transpose_words(const TransposeWords& matrix);

// y[i] = x[i] for n contiguous floats between f32 and how they are stored (kF32, kBF16, kF16): exact to f32; to nearest
// even from it, and what is too large for f16 becomes infinite. One thread.
void widen(DType from, const void* x, float* y, int64_t n);
void narrow(DType to, const float* x, void* y, int64_t n);
// The same between any two of the three, on several threads. y may be x where both have the same size.
void convert_stored(DType from, const void* x, DType to, void* y, int64_t n, int threads);

// Whether a dtype is one of the three in which kernels of training keep activations.
constexpr bool is_stored_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

// Element i of such floats.
inline const std::byte* stored_at(const void* p, DType dtype, int64_t i) {
  return static_cast<const std::byte*>(p) + i * (dtype == DType::kF32 ? 4 : 2);
}
inline std::byte* stored_at(void* p, DType dtype, int64_t i) {
  return static_cast<std::byte*>(p) + i * (dtype == DType::kF32 ? 4 : 2);
}

}  // namespace lowp::kernels
