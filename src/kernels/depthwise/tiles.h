// Inside the depthwise family: what a target's translation unit offers to depthwise.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/tiles.h"

namespace lowp::kernels {

// What of a layer decides how it is computed.
struct DepthwiseShape {
  DType in_dtype;  // kF32, kU8, kI8
  bool seven_bit;  // u8 activations that are 0..127
  int64_t c;
  int kernel_h, kernel_w, stride, dilation;  // the last two along the width
  int64_t out_w;
  const Epilogue* epilogue;
  OutputRange range;  // of the epilogue
  int64_t columns;    // round_up(C, 16): channels of packed weights
  bool finishes;      // what was chosen applies the epilogue
};

// `count` tiles side by side, each of some neighbouring output pixels of a line, channels [c0, c0 + channels).
struct DepthwiseTiles {
  const DepthwiseShape* shape;
  int pixels;  // of a tile: the kernel's `pixels`, `narrow` or, where that is 2, 1
  int64_t count;
  // lines[kh][j] is channel 0 of the input pixel under tap (kh, kw) of output pixel i, j = i * stride + kw * dilation.
  // Inside the image, for kernels with by_steps and tiles of their `pixels`, lines is null, and first + kh * pitch + j
  // * step, in bytes, what it would be.
  const void* const* const* lines;
  const char* first;
  int64_t step, pitch;
  int64_t c0, channels;  // c0 is a multiple of 64
  const void* weights;   // as packed or, where the kernel prepares them, as it left them
  // Sums for the epilogue, f32 or s32, [count * pixels][acc_ld], the first of channel c0; null: the kernel finishes
  // outputs itself.
  void* acc;
  int64_t acc_ld;
  char* out;  // channel c0 of the first pixel
  int64_t out_ld;
};

// A way to compute a layer.
struct DepthwiseKernel {
  void (*tiles)(const DepthwiseTiles&);
  // Rearranges weights (and what else is needed by channel) at the start of a call; null: weights are read as packed.
  void (*prepare)(const DepthwiseShape&, const void* weights, void* prepared);
  size_t prepared;     // bytes of that
  int pixels, narrow;  // of its widest tile and of the next
  bool by_steps;
  bool finishes;  // applies the epilogue itself
};

struct DepthwiseTable {
  DepthwiseKernel (*choose)(const DepthwiseShape&);
};

}  // namespace lowp::kernels
