// Inside the depthwise family: what a target's translation unit offers to depthwise.cc.
#pragma once

#include <cstdint>

#include "kernels/gemm/tiles.h"

namespace lowp::kernels {

inline constexpr int kDepthwisePixels = 4;       // output pixels that share a load of the weights
inline constexpr int64_t kDepthwiseChunk = 128;  // channels between two epilogues: the sums stay in L1

struct DepthwiseTile {
  const void* const* rows;  // rows[t * pixels + i]: channel 0 of tap t of output pixel i; s8 taps are even in number
  int taps, pixels;
  int64_t c0, channels;  // c0 and all but the last chunk's channels are multiples of 16
  const void* weights;   // f32 [tap][columns]; s8 as expand_pairs left it
  int64_t columns;       // round_up(C, 16)
  void* acc;             // [pixels][kDepthwiseChunk] f32 or s32
  int32_t flip;          // 0x80 for s8 activations, else 0
};

struct DepthwiseTable {
  void (*tile_f32)(const DepthwiseTile&);
  void (*tile_s8)(const DepthwiseTile&);
  // [tap][columns] s8 to [pair of taps][columns] of two s16, a missing last tap zero.
  void (*expand_pairs)(const int8_t* weights, int64_t taps, int64_t columns, int32_t* pairs);
};

}  // namespace lowp::kernels
