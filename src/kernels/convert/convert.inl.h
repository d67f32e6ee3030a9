// The convert family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/convert/table.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::ExpandMatrix;

template <typename S>
void expand_plain(const ExpandMatrix& m) {
  const typename S::T* src = static_cast<const typename S::T*>(m.src);
  for (int64_t r = 0; r < m.rows; ++r) {
    const typename S::T* from = src + r * m.ld;
    float* to = m.dst + r * m.dst_ld;
    for_lanes(m.cols, [&](int64_t i, int lanes) LOWP_INLINE { store_n(to + i, S::load(from + i, lanes), lanes); });
  }
}

// A block of up to 16 x 16: `cols` rows of src, of which `rows` elements each are wanted.
template <typename S>
void transpose_block(const typename S::T* src, int64_t ld, int rows, int cols, float* dst, int64_t dst_ld) {
  float block[256], turned[256];
  for (int c = 0; c < 16; ++c) store(block + c * 16, c < cols ? S::load(src + c * ld, rows) : zero());
  transpose_16x16(block, 16, turned);
  for (int r = 0; r < rows; ++r) store_n(dst + r * dst_ld, load(turned + r * 16), cols);
}

// Whole blocks of f32 need no copy before, and none after where they are a panel of 16 columns.
void transpose_whole(const float* src, int64_t ld, float* dst, int64_t dst_ld) {
  if (dst_ld == 16) return transpose_16x16(src, ld, dst);
  float turned[256];
  transpose_16x16(src, ld, turned);
  for (int r = 0; r < 16; ++r) store(dst + r * dst_ld, load(turned + r * 16));
}

// Pieces of 64 rows of dst, so that four lines of each row of src are read one after another.
constexpr int64_t kPiece = 64;

template <typename S>
void expand_transposed(const ExpandMatrix& m) {
  const typename S::T* src = static_cast<const typename S::T*>(m.src);
  for (int64_t r1 = 0; r1 < m.rows; r1 += kPiece) {
    const int64_t stop = r1 + kPiece < m.rows ? r1 + kPiece : m.rows;
    for (int64_t c = 0; c < m.cols; c += 16) {
      const int cols = m.cols - c < 16 ? static_cast<int>(m.cols - c) : 16;
      for (int64_t r = r1; r < stop; r += 16) {
        const int rows = stop - r < 16 ? static_cast<int>(stop - r) : 16;
        const typename S::T* from = src + c * m.ld + r;
        float* to = m.dst + r * m.dst_ld + c;
        if constexpr (sizeof(typename S::T) == sizeof(float)) {
          if (rows == 16 && cols == 16) {
            transpose_whole(from, m.ld, to, m.dst_ld);
            continue;
          }
        }
        transpose_block<S>(from, m.ld, rows, cols, to, m.dst_ld);
      }
    }
  }
}

void expand(const ExpandMatrix& m) {
  for_storage(m.dtype, [&](auto storage) {
    using S = decltype(storage);
    m.transposed ? expand_transposed<S>(m) : expand_plain<S>(m);
  });
}

void widen(DType from, const void* x, float* y, int64_t n) {
  for_storage(from, [&](auto storage) LOWP_INLINE {
    using S = decltype(storage);
    const auto* p = static_cast<const typename S::T*>(x);
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, S::load(p + i, lanes), lanes); });
  });
}

void narrow(DType to, const float* x, void* y, int64_t n) {
  for_storage(to, [&](auto storage) LOWP_INLINE {
    using S = decltype(storage);
    auto* p = static_cast<typename S::T*>(y);
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { S::store(p + i, load_n(x + i, lanes), lanes); });
  });
}

}  // namespace

extern const kernels::ConvertTable convert_table;
const kernels::ConvertTable convert_table = {expand, widen, narrow};

}  // namespace lowp::LOWP_TARGET
