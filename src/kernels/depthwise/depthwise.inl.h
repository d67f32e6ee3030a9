// Depthwise tiles over the 16-lane vectors: the sums of a few neighbouring output pixels and 16 channels in registers,
// so that a loaded input pixel serves every output pixel whose window it is in.
#pragma once

#include "kernels/depthwise/tiles.h"
#include "kernels/gemm/dot.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::DepthwiseTile;
using kernels::kDepthwiseChunk;

#define LOWP_UNROLL _Pragma("GCC unroll 32")

// INT8: the taps of one column and several rows are bytes (or halves) of a word, so that one instruction adds them all.
#if defined(LOWP_HAS_DOT)
constexpr int kRowsPerWord = 4;
inline I32 dot_word(I32 acc, I32 x, I32 w) { return dot_u8s8(acc, x, w); }
#else
constexpr int kRowsPerWord = 2;
inline I32 dot_word(I32 acc, I32 x, I32 w) {
  for (int h = 0; h < kParts; ++h) part(acc, h) = add32(part(acc, h), madd(part(x, h), part(w, h)));
  return acc;
}
#endif
constexpr int kRowBits = 32 / kRowsPerWord;

// Words of kRows consecutive rows at column j.
template <int kRows>
[[gnu::always_inline]] inline I32 load_words(const void* const* const* lines, int64_t j, int64_t c, int lanes) {
  auto row = [&](int r) __attribute__((always_inline)) {
    return load_u8_n(static_cast<const uint8_t*>(lines[r][j]) + c, lanes);
  };
  I32 x = row(0);
  if constexpr (kRows > 1) x = x | shift_left<kRowBits>(row(1));
  if constexpr (kRows > 2) x = x | shift_left<(2 * kRowBits) % 32>(row(2));
  if constexpr (kRows > 3) x = x | shift_left<(3 * kRowBits) % 32>(row(3));
  return x;
}

// What one step over the kernel's height does: a row of f32 taps, or kRows rows of INT8 taps.
struct FloatColumn {
  using Acc = F32;
  using Element = float;
  static constexpr int kRows = 1;
  F32 flip;
  explicit FloatColumn(bool) : flip(LOWP_TARGET::zero()) {}
  [[gnu::always_inline]] static F32 zero() { return LOWP_TARGET::zero(); }
  [[gnu::always_inline]] static F32 load_weights(const float* w) { return load(w); }
  [[gnu::always_inline]] F32 load_x(const void* const* const* lines, int64_t j, int64_t c, int lanes) const {
    return load_n(static_cast<const float*>(lines[0][j]) + c, lanes);
  }
  [[gnu::always_inline]] static F32 add(F32 acc, F32 x, F32 w) { return fma(x, w, acc); }
  [[gnu::always_inline]] static void put(float* p, F32 v) { store(p, v); }
};
template <int kRowCount>
struct IntColumn {
  using Acc = I32;
  using Element = int32_t;
  static constexpr int kRows = kRowCount;
  I32 flip;
  explicit IntColumn(bool is_signed)
      : flip(set_int(is_signed ? (kRowsPerWord == 4 ? static_cast<int>(0x80808080u) : 0x00800080) : 0)) {}
  [[gnu::always_inline]] static I32 zero() { return set_int(0); }
  [[gnu::always_inline]] static I32 load_weights(const int32_t* w) { return load_int(w); }
  [[gnu::always_inline]] I32 load_x(const void* const* const* lines, int64_t j, int64_t c, int lanes) const {
    return load_words<kRows>(lines, j, c, lanes) ^ flip;
  }
  [[gnu::always_inline]] static I32 add(I32 acc, I32 x, I32 w) { return dot_word(acc, x, w); }
  [[gnu::always_inline]] static void put(int32_t* p, I32 v) { store_int(p, v); }
};

// One step: P pixels, KW taps, S apart, dilation 1: every column is loaded once. KW = 0: any kernel, column by column.
template <typename Column, int P, int KW, int S>
[[gnu::always_inline]] inline void add_row(const DepthwiseTile& t, const Column& column,
                                           const void* const* const* lines, const typename Column::Element* w,
                                           int64_t c, int lanes, typename Column::Acc (&acc)[P]) {
  if constexpr (KW == 0) {
    for (int kw = 0; kw < t.kernel_w; ++kw) {
      auto weights = Column::load_weights(w + kw * t.columns);
      for (int i = 0; i < P; ++i) {
        acc[i] = Column::add(
            acc[i], column.load_x(lines, static_cast<int64_t>(i) * t.stride + kw * t.dilation, c, lanes), weights);
      }
    }
  } else {
    typename Column::Acc weights[KW];
    LOWP_UNROLL for (int kw = 0; kw < KW; ++kw) weights[kw] = Column::load_weights(w + kw * t.columns);
    LOWP_UNROLL for (int j = 0; j < (P - 1) * S + KW; ++j) {
      auto x = column.load_x(lines, j, c, lanes);
      // Pixel i sees column j as its tap j - i * S; columns ascend, so each sum takes its taps in order.
      LOWP_UNROLL for (int i = 0; i < P; ++i) {
        if (j >= i * S && j - i * S < KW)
          acc[i] = Column::add(acc[i], x, weights[j - i * S < KW && j >= i * S ? j - i * S : 0]);
      }
    }
  }
}

template <int P, int KW, int S>
void tile_f32(const DepthwiseTile& t) {
  const float* weights = static_cast<const float*>(t.weights) + t.c0;
  float* out = static_cast<float*>(t.acc);
  const FloatColumn column(false);
  for_lanes(
      t.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
        F32 acc[P];
        LOWP_UNROLL for (int i = 0; i < P; ++i) acc[i] = zero();
        for (int kh = 0; kh < t.kernel_h; ++kh) {
          add_row<FloatColumn, P, KW, S>(t, column, t.lines + kh, weights + kh * t.kernel_w * t.columns + c, t.c0 + c,
                                         lanes, acc);
        }
        LOWP_UNROLL for (int i = 0; i < P; ++i) store(out + i * kDepthwiseChunk + c, acc[i]);
      });
}

template <int P, int KW, int S>
void tile_s8(const DepthwiseTile& t) {
  const int32_t* weights = static_cast<const int32_t*>(t.weights) + t.c0;
  int32_t* out = static_cast<int32_t*>(t.acc);
  for_lanes(
      t.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
        I32 acc[P];
        LOWP_UNROLL for (int i = 0; i < P; ++i) acc[i] = set_int(0);
        for (int kh = 0; kh < t.kernel_h; kh += kRowsPerWord) {
          const int32_t* w = weights + kh / kRowsPerWord * t.kernel_w * t.columns + c;
          auto rows = [&]<int kRows>() __attribute__((always_inline)) {
            add_row<IntColumn<kRows>, P, KW, S>(t, IntColumn<kRows>(t.is_signed), t.lines + kh, w, t.c0 + c, lanes,
                                                acc);
          };
          const int left = t.kernel_h - kh;
          if (left == 1)
            rows.template operator()<1>();
          else if (left == 2 || kRowsPerWord == 2)
            rows.template operator()<2>();
          else if (left == 3)
            rows.template operator()<3>();
          else
            rows.template operator()<kRowsPerWord>();
        }
        LOWP_UNROLL for (int i = 0; i < P; ++i) store_int(out + i * kDepthwiseChunk + c, acc[i]);
      });
}

// Registers: the sums, a kernel row of weights, a column.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr int kWidePixels = 4;
#else
constexpr int kWidePixels = kernels::kMaxDepthwisePixels;
#endif

#define LOWP_DEPTHWISE_BY_SHAPE(function)                                                 \
  template <int P>                                                                        \
  void function##_by_shape(const DepthwiseTile& t) {                                      \
    if (t.dilation == 1 && t.kernel_w == 3 && t.stride == 1) return function<P, 3, 1>(t); \
    if (t.dilation == 1 && t.kernel_w == 3 && t.stride == 2) return function<P, 3, 2>(t); \
    if (t.dilation == 1 && t.kernel_w == 5 && t.stride == 1) return function<P, 5, 1>(t); \
    if (t.dilation == 1 && t.kernel_w == 5 && t.stride == 2) return function<P, 5, 2>(t); \
    function<P, 0, 0>(t);                                                                 \
  }                                                                                       \
  void any_##function(const DepthwiseTile& t) {                                           \
    if (t.pixels == 1) return function##_by_shape<1>(t);                                  \
    if (t.pixels == 2) return function##_by_shape<2>(t);                                  \
    function##_by_shape<kWidePixels>(t);                                                  \
  }
LOWP_DEPTHWISE_BY_SHAPE(tile_f32)
LOWP_DEPTHWISE_BY_SHAPE(tile_s8)

void expand(const int8_t* weights, int64_t kernel_h, int64_t kernel_w, int64_t columns, int32_t* words) {
  const I32 mask = set_int(kRowsPerWord == 4 ? 0xff : 0xffff);
  for (int64_t kh = 0; kh < kernel_h; kh += kRowsPerWord) {
    for (int64_t kw = 0; kw < kernel_w; ++kw) {
      for (int64_t c = 0; c < columns; c += 16, words += 16) {
        auto row = [&](int r) {
          return kh + r < kernel_h ? load_s8(weights + ((kh + r) * kernel_w + kw) * columns + c) & mask : set_int(0);
        };
        I32 word = row(0) | shift_left<kRowBits>(row(1));
        if constexpr (kRowsPerWord == 4) word = word | shift_left<16>(row(2)) | shift_left<24>(row(3));
        store_int(words, word);
      }
    }
  }
}

constexpr kernels::DepthwiseTable kDepthwise = {kWidePixels, kRowsPerWord, any_tile_f32, any_tile_s8, expand};

}  // namespace
}  // namespace lowp::LOWP_TARGET
