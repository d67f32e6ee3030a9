// The convert family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/convert/table.h"
#include "simd/stored.h"
#include "simd/words.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::ExpandMatrix;
using kernels::PairPanel;
using kernels::TransposeWords;

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

// ---- pairs of 16-bit elements ----

// Rows k and k + 1 of src side by side.
template <typename T>
void pair_rows(const T* src, const PairPanel& panel, int32_t* dst) {
  auto pairs = [&](int cols) LOWP_INLINE {
    int64_t k = 0;
    for (; k + 2 <= panel.rows; k += 2)
      store_int(dst + k * 8, pair_words(src + k * panel.ld, src + (k + 1) * panel.ld, cols));
    if (k < panel.rows) store_int(dst + k * 8, single_words(src + k * panel.ld, cols));
  };
  panel.cols == kLanes ? pairs(kLanes) : pairs(panel.cols);
}

void round_panel(const PairPanel& panel) {
  const auto* src = static_cast<const float*>(panel.src);
  auto* dst = static_cast<int32_t*>(panel.dst);
  if (!panel.transposed) return pair_rows(src, panel, dst);
  for (int64_t k = 0; k < panel.rows; k += kLanes) {
    const int rows = panel.rows - k < kLanes ? static_cast<int>(panel.rows - k) : kLanes;
    float block[256], turned[256];
    for (int n = 0; n < kLanes; ++n)
      store(block + n * kLanes, n < panel.cols ? load_n(src + n * panel.ld + k, rows) : zero());
    transpose_16x16(block, kLanes, turned);
    for (int i = 0; i < rows; i += 2)
      store_int(dst + (k + i) * 8, pair_words(turned + i * kLanes, turned + (i + 1) * kLanes, kLanes));
  }
}

void pair_panel(const PairPanel& panel) {
  if (panel.dtype == DType::kF32) return round_panel(panel);
  const auto* src = static_cast<const uint16_t*>(panel.src);
  auto* dst = static_cast<int32_t*>(panel.dst);
  if (!panel.transposed) return pair_rows(src, panel, dst);
  // Two neighbours of a row of src are a pair already.
  for (int64_t k = 0; k < panel.rows; k += 32) {
    auto turn = [&](int rows) LOWP_INLINE {
      float block[256], turned[256];
      for (int n = 0; n < kLanes; ++n) {
        const I32 pairs = n < panel.cols ? load_pairs(src + n * panel.ld + k, rows) : set_int(0);
        store(block + n * kLanes, bitcast_float(pairs));
      }
      transpose_16x16(block, kLanes, turned);
      __builtin_memcpy(dst + k * 8, turned, static_cast<size_t>((rows + 1) / 2 * kLanes) * sizeof(float));
    };
    panel.rows - k >= 32 ? turn(32) : turn(static_cast<int>(panel.rows - k));
  }
}

template <typename T>
void transpose_words_of(const TransposeWords& m) {
  const auto* src = static_cast<const T*>(m.src);
  auto* dst = static_cast<uint16_t*>(m.dst);
  for (int64_t r1 = 0; r1 < m.rows; r1 += kPiece) {
    const int64_t stop = r1 + kPiece < m.rows ? r1 + kPiece : m.rows;
    for (int64_t c = 0; c < m.cols; c += 32) {
      const int cols = m.cols - c < 32 ? static_cast<int>(m.cols - c) : 32;
      for (int64_t r = r1; r < stop; r += kLanes) {
        const int rows = stop - r < kLanes ? static_cast<int>(stop - r) : kLanes;
        const T* from = src + c * m.ld + r;
        uint16_t* to = dst + r * m.dst_ld + c;
        if (rows == kLanes && cols == 32)
          transpose_words_block(from, m.ld, kLanes, 32, to, m.dst_ld);
        else
          transpose_words_block(from, m.ld, rows, cols, to, m.dst_ld);
      }
    }
  }
}
void transpose_words(const TransposeWords& m) {
  m.dtype == DType::kF32 ? transpose_words_of<float>(m) : transpose_words_of<uint16_t>(m);
}

}  // namespace

extern const kernels::ConvertTable convert_table;
const kernels::ConvertTable convert_table = {expand, widen, narrow, pair_panel, transpose_words};

}  // namespace lowp::LOWP_TARGET
