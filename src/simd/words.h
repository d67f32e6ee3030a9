// Pairs of 16-bit elements, one in each lane of 32 bits: the form in which products of bf16 read their operands
// (gemm/pack.h, K2N16). Elements of 16 bits are moved, never looked at; f32 is rounded to bf16.
#pragma once

#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

// Lane l: low[l] below high[l], l < n; other lanes are zero.
[[gnu::always_inline]] inline I32 pair_words(const uint16_t* low, const uint16_t* high, int n) {
  return load_u16_n(low, n) | shift_left<16>(load_u16_n(high, n));
}

// The same of f32, rounded to bf16.
[[gnu::always_inline]] inline I32 pair_words(const float* low, const float* high, int n) {
  return to_bf16_bits(load_n(low, n)) | shift_left<16>(to_bf16_bits(load_n(high, n)));
}
[[gnu::always_inline]] inline I32 single_words(const uint16_t* low, int n) { return load_u16_n(low, n); }
[[gnu::always_inline]] inline I32 single_words(const float* low, int n) { return to_bf16_bits(load_n(low, n)); }

// Lane l: words[2 l] below words[2 l + 1], n <= 32 words in all; what lies beyond is zero and not read.
[[gnu::always_inline]] inline I32 load_pairs(const uint16_t* words, int n) {
  int32_t pairs[kLanes] = {};
  __builtin_memcpy(pairs, words, static_cast<size_t>(n) * sizeof(uint16_t));
  return load_int(pairs);
}

// dst[r * dst_ld + c] = src[c * ld + r] for r < rows <= 16 and c < cols <= 32.
template <typename T>
[[gnu::always_inline]] inline void transpose_words_block(const T* src, int64_t ld, int rows, int cols, uint16_t* dst,
                                                         int64_t dst_ld) {
  float block[kLanes * kLanes], turned[kLanes * kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const T* low = src + 2 * i * ld;
    I32 pair = set_int(0);
    if (2 * i + 1 < cols)
      pair = pair_words(low, low + ld, rows);
    else if (2 * i < cols)
      pair = single_words(low, rows);
    store(block + i * kLanes, bitcast_float(pair));
  }
  transpose_16x16(block, kLanes, turned);
  for (int r = 0; r < rows; ++r)
    __builtin_memcpy(dst + r * dst_ld, turned + r * kLanes, static_cast<size_t>(cols) * sizeof(uint16_t));
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
