// The order in which a convolution computes its output pixels. Those at the edges of the image read some taps in the
// padding, where there is nothing to multiply: pixels that read the same taps follow each other, the same rectangle of
// every image, so that whole tiles leave the others out. In ResNet-50's 3 x 3 layers that is 2% of the work at 56 x 56
// pixels and 18% at 7 x 7.
#pragma once

#include <cstdint>

#include "kernels/conv/conv.h"
#include "kernels/gemm/driver.h"

namespace lowp::kernels {

struct PixelOrder {
  // Output pixels [oh, oh + h) x [ow, ow + w) of each image. The taps of `outside`, a bit each, lie in the padding for
  // all of them, the others inside the image.
  struct Rectangle {
    int64_t begin;  // position of the first in the order
    int64_t oh, h, ow, w;
    uint64_t outside;
    int64_t pixels() const { return h * w; }  // of an image
  };
  static constexpr int kMostBands = 7;  // of rows, and of columns

  int count = 0;  // of rectangles; 0: pixels come as they lie in memory
  Rectangle rectangles[kMostBands * kMostBands];
  int piece_count = 0;
  RowPiece pieces[kMostBands * kMostBands];

  // Empty where the padding is not zero, or so small a part of what the taps read that no order would help.
  static PixelOrder of(const ConvArgs& args);

  // Pixels from `position` on that lie evenly, at most `most`: along a row, or down a rectangle of one column.
  struct Run {
    int64_t b, oh, ow, count;
    bool down;
    uint64_t outside;
  };
  Run run_at(int64_t position, int64_t most, int64_t batch) const;
};

}  // namespace lowp::kernels
