// Inside the depthwise family: what a target's translation unit offers to depthwise.cc.
#pragma once

#include <cstdint>

#include "kernels/gemm/tiles.h"

namespace lowp::kernels {

inline constexpr int kMaxDepthwisePixels = 7;    // 7, 14, 28, 56, 112: the widths of image models
inline constexpr int64_t kDepthwiseChunk = 128;  // channels between two epilogues: the sums stay in L1

// Sums of `pixels` neighbouring output pixels of one line, channels [c0, c0 + channels).
struct DepthwiseTile {
  // lines[kh][j]: channel 0 of the input pixel under tap (kh, kw) of output pixel i is at j = i * stride + kw *
  // dilation.
  const void* const* const* lines;
  int kernel_h, kernel_w, stride, dilation;  // the last two along the width
  int pixels;                                // 1, 2 or the table's
  int64_t c0, channels;                      // c0 is a multiple of 16
  const void* weights;                       // f32 [tap][columns]; s8 as expand left it
  int64_t columns;                           // round_up(C, 16)
  void* acc;                                 // [pixels][kDepthwiseChunk] f32 or s32
  bool is_signed;                            // s8 activations, to be read as u8
};

struct DepthwiseTable {
  int pixels;         // of the widest tile
  int rows_per_word;  // taps of a column that share a 32-bit word of s8 weights
  void (*tile_f32)(const DepthwiseTile&);
  void (*tile_s8)(const DepthwiseTile&);
  // [kh][kw][columns] s8 to [ceil(kh / rows_per_word)][kw][columns] words of weights of consecutive kh, missing rows
  // zero.
  void (*expand)(const int8_t* weights, int64_t kernel_h, int64_t kernel_w, int64_t columns, int32_t* words);
};

}  // namespace lowp::kernels
