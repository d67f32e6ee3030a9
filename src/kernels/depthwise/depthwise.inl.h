// Depthwise tiles over the 16-lane vectors, for any kernel: the sums of a few neighbouring output pixels and 16
// channels in registers, so that a loaded input pixel serves every output pixel whose window it is in.
#pragma once

#include "kernels/depthwise/tiles.h"
#include "kernels/gemm/dot.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::DepthwiseKernel;
using kernels::DepthwiseShape;
using kernels::DepthwiseTiles;

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

// Calls body(offset, lanes) for 16 channels at a time. The last ones are computed with some before them again: tails
// cost AVX2 a loop over bytes.
template <typename Body>
[[gnu::always_inline]] inline void for_channels(int64_t count, Body&& body) {
  if (count < kLanes) return body(0, static_cast<int>(count));
  for (int64_t i = 0; i < count; i += kLanes) body(i + kLanes <= count ? i : count - kLanes, kLanes);
}

// One step: P pixels, KW taps, S apart, dilation 1: every column is loaded once. KW = 0: any kernel, column by column.
// `first`: the column under the first pixel's first tap.
template <typename Column, int P, int KW, int S>
[[gnu::always_inline]] inline void add_row(const DepthwiseShape& t, const Column& column,
                                           const void* const* const* lines, int64_t first,
                                           const typename Column::Element* w, int64_t c, int lanes,
                                           typename Column::Acc (&acc)[P]) {
  if constexpr (KW == 0) {
    for (int kw = 0; kw < t.kernel_w; ++kw) {
      auto weights = Column::load_weights(w + kw * t.columns);
      for (int i = 0; i < P; ++i) {
        acc[i] = Column::add(acc[i], column.load_x(lines, first + i * t.stride + kw * t.dilation, c, lanes), weights);
      }
    }
  } else {
    typename Column::Acc weights[KW];
    LOWP_UNROLL for (int kw = 0; kw < KW; ++kw) weights[kw] = Column::load_weights(w + kw * t.columns);
    LOWP_UNROLL for (int j = 0; j < (P - 1) * S + KW; ++j) {
      auto x = column.load_x(lines, first + j, c, lanes);
      // Pixel i sees column j as its tap j - i * S; columns ascend, so each sum takes its taps in order.
      LOWP_UNROLL for (int i = 0; i < P; ++i) {
        if (j >= i * S && j - i * S < KW)
          acc[i] = Column::add(acc[i], x, weights[j - i * S < KW && j >= i * S ? j - i * S : 0]);
      }
    }
  }
}

template <int P, int KW, int S>
void tile_f32(const DepthwiseTiles& t, int64_t tile) {
  const DepthwiseShape& shape = *t.shape;
  const int64_t first = tile * P * shape.stride;
  const float* weights = static_cast<const float*>(t.weights) + t.c0;
  float* out = static_cast<float*>(t.acc) + tile * P * t.acc_ld;
  const FloatColumn column(false);
  for_channels(
      t.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
        F32 acc[P];
        LOWP_UNROLL for (int i = 0; i < P; ++i) acc[i] = zero();
        for (int kh = 0; kh < shape.kernel_h; ++kh) {
          add_row<FloatColumn, P, KW, S>(shape, column, t.lines + kh, first,
                                         weights + kh * shape.kernel_w * shape.columns + c, t.c0 + c, lanes, acc);
        }
        LOWP_UNROLL for (int i = 0; i < P; ++i) store(out + i * t.acc_ld + c, acc[i]);
      });
}

template <int P, int KW, int S>
void tile_s8(const DepthwiseTiles& t, int64_t tile) {
  const DepthwiseShape& shape = *t.shape;
  const int64_t first = tile * P * shape.stride;
  const bool is_signed = shape.in_dtype == DType::kI8;
  const int32_t* weights = static_cast<const int32_t*>(t.weights) + t.c0;
  int32_t* out = static_cast<int32_t*>(t.acc) + tile * P * t.acc_ld;
  for_channels(
      t.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
        I32 acc[P];
        LOWP_UNROLL for (int i = 0; i < P; ++i) acc[i] = set_int(0);
        for (int kh = 0; kh < shape.kernel_h; kh += kRowsPerWord) {
          const int32_t* w = weights + kh / kRowsPerWord * shape.kernel_w * shape.columns + c;
          auto rows = [&]<int kRows>() __attribute__((always_inline)) {
            add_row<IntColumn<kRows>, P, KW, S>(shape, IntColumn<kRows>(is_signed), t.lines + kh, first, w, t.c0 + c,
                                                lanes, acc);
          };
          const int left = shape.kernel_h - kh;
          if (left == 1)
            rows.template operator()<1>();
          else if (left == 2 || kRowsPerWord == 2)
            rows.template operator()<2>();
          else if (left == 3)
            rows.template operator()<3>();
          else
            rows.template operator()<kRowsPerWord>();
        }
        LOWP_UNROLL for (int i = 0; i < P; ++i) store_int(out + i * t.acc_ld + c, acc[i]);
      });
}

// Registers: the sums, a kernel row of weights, a column.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr int kWidePixels = 4;
#else
constexpr int kWidePixels = 7;  // 7, 14, 28, 56, 112: the widths of image models
#endif

#define LOWP_DEPTHWISE_BY_PIXELS(function)       \
  template <int KW, int S>                       \
  void any_##function(const DepthwiseTiles& t) { \
    for (int64_t i = 0; i < t.count; ++i) {      \
      if (t.pixels == 1)                         \
        function<1, KW, S>(t, i);                \
      else if (t.pixels == 2)                    \
        function<2, KW, S>(t, i);                \
      else                                       \
        function<kWidePixels, KW, S>(t, i);      \
    }                                            \
  }
LOWP_DEPTHWISE_BY_PIXELS(tile_f32)
LOWP_DEPTHWISE_BY_PIXELS(tile_s8)

// s8 [kh][kw][columns] to [ceil(kh / kRowsPerWord)][kw][columns] words of weights of consecutive kh, missing rows zero.
void prepare_words(const DepthwiseShape& shape, const void* packed, void* prepared) {
  const int8_t* weights = static_cast<const int8_t*>(packed);
  int32_t* words = static_cast<int32_t*>(prepared);
  const I32 mask = set_int(kRowsPerWord == 4 ? 0xff : 0xffff);
  for (int kh = 0; kh < shape.kernel_h; kh += kRowsPerWord) {
    for (int kw = 0; kw < shape.kernel_w; ++kw) {
      for (int64_t c = 0; c < shape.columns; c += 16, words += 16) {
        auto row = [&](int r) {
          return kh + r < shape.kernel_h
                     ? load_s8(weights + ((kh + r) * shape.kernel_w + kw) * shape.columns + c) & mask
                     : set_int(0);
        };
        I32 word = row(0) | shift_left<kRowBits>(row(1));
        if constexpr (kRowsPerWord == 4) word = word | shift_left<16>(row(2)) | shift_left<24>(row(3));
        store_int(words, word);
      }
    }
  }
}

DepthwiseKernel choose_any(const DepthwiseShape& shape) {
  DepthwiseKernel k{};
  k.pixels = kWidePixels;
  k.narrow = 2;
  const bool is_int = shape.in_dtype != DType::kF32;
  auto by_shape = [&](auto&& of) {
    if (shape.dilation == 1 && shape.stride == 1 && shape.kernel_w == 3) return of.template operator()<3, 1>();
    return of.template operator()<0, 0>();
  };
  if (is_int) {
    const int64_t words = (shape.kernel_h + kRowsPerWord - 1) / kRowsPerWord * shape.kernel_w;
    k.tiles = by_shape([]<int KW, int S>() { return &any_tile_s8<KW, S>; });
    k.prepare = prepare_words;
    k.prepared = static_cast<size_t>(words * shape.columns) * sizeof(int32_t);
  } else {
    k.tiles = by_shape([]<int KW, int S>() { return &any_tile_f32<KW, S>; });
  }
  return k;
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
