// Inside the conv family: the tiles of Winograd's algorithm (winograd.h, winograd_int8.h), what they read and how their
// outputs are stored.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/conv/conv.h"
#include "kernels/gemm/driver.h"
#include "kernels/gemm/tiles.h"

namespace lowp::kernels {

// Tiles of kEdge x kEdge output pixels, of all images; the last of a row or column may reach beyond the image. Shapes
// are ConvArgs or ConvShape.
template <int64_t kEdge>
struct WinogradTiles {
  static constexpr int64_t kWindow = kEdge + 2;             // input pixels in a row
  static constexpr int64_t kPositions = kWindow * kWindow;  // of a transformed tile or filter

  int64_t h = 0, w = 0;  // of an image
  int64_t count = 0;

  template <typename Shape>
  static WinogradTiles of(const Shape& s) {
    const int64_t h = ceil_div(s.out_h, kEdge), w = ceil_div(s.out_w, kEdge);
    return {h, w, s.batch * h * w};
  }

  struct Place {
    int64_t b, y, x;
  };
  Place place(int64_t tile) const { return {tile / w / h, tile / w % h, tile % w}; }
  void advance(Place& at) const {
    if (++at.x < w) return;
    at.x = 0;
    if (++at.y < h) return;
    at.y = 0, ++at.b;
  }
};

// The input pixels of a tile, `bytes` apart; `padding` where they lie outside the image.
template <int64_t kEdge, typename Shape>
void input_pixels(const Shape& s, const void* in, int64_t bytes, const void* padding,
                  const typename WinogradTiles<kEdge>::Place& at,
                  const void* (&pixels)[WinogradTiles<kEdge>::kPositions]) {
  constexpr int64_t kWindow = WinogradTiles<kEdge>::kWindow;
  for (int64_t i = 0; i < kWindow * kWindow; ++i) {
    const int64_t h = at.y * kEdge - s.pad_top + i / kWindow, w = at.x * kEdge - s.pad_left + i % kWindow;
    const bool inside = h >= 0 && h < s.in_h && w >= 0 && w < s.in_w;
    pixels[i] = inside ? static_cast<const char*>(in) + ((at.b * s.in_h + h) * s.in_w + w) * bytes : padding;
  }
}

// M = V U of one position: `count` tiles of V against `panels` panels of U.
struct PositionArgs {
  const TileSet* tiles;
  const void* v;  // the first tile's row of `channels` elements; the others lie row_bytes apart
  int64_t count, row_bytes, channels;
  const void* u;
  int64_t panels, panel_bytes;
  void* m;                     // sums of 4 bytes
  int64_t m_ld;                // sums between tiles
  const void** rows;           // scratch: a pointer for each tile
  std::span<const char> next;  // comes to L2 meanwhile
};
void multiply_position(const PositionArgs& args);

// Outputs of a layer from the sums of its tiles, a few neighbouring tiles at a time. Sum is float or int32_t.
template <int64_t kEdge, typename Sum>
class WinogradOutputs {
 public:
  static constexpr size_t scratch(int64_t columns) {
    return static_cast<size_t>((kPixels + 1) * columns) * sizeof(Sum);
  }
  // columns: the most that are finished at once, a multiple of kPanel.
  WinogradOutputs(const ConvArgs& a, int64_t columns, EpilogueFn epilogue, void* scratch)
      : a_(a),
        tiles_(WinogradTiles<kEdge>::of(a)),
        columns_(columns),
        epilogue_(epilogue),
        range_(output_range(a.epilogue)),
        acc_(static_cast<Sum*>(scratch)) {}

  // Output channels [column, column + columns) of tiles [first, first + count). transform(i, pixels) stores the kEdge x
  // kEdge pixels of tile first + i, whole panels of them.
  template <typename Transform>
  void finish(int64_t first, int64_t count, int64_t column, int64_t columns, Transform&& transform) const {
    const Epilogue& e = a_.epilogue;
    EpilogueArgs args{};
    args.e = &e;
    args.range = range_;
    args.acc = acc_;
    args.acc_ld = columns_;
    args.cols = static_cast<int>(std::min(columns, a_.out_c - column));
    args.n0 = column;
    args.out = static_cast<char*>(a_.out) + column * (dtype_bits(e.out) / 8);
    if (e.residual != nullptr)
      args.residual = static_cast<const char*>(e.residual) + column * (dtype_bits(e.residual_dtype) / 8);
    for (int64_t i = 0; i < count;) {
      const auto at = tiles_.place(first + i);
      const int64_t tiles = std::min({kTiles, count - i, tiles_.w - at.x});
      const int64_t oh = at.y * kEdge, ow = at.x * kEdge;
      const int64_t width = std::min(tiles * kEdge, a_.out_w - ow), height = std::min(kEdge, a_.out_h - oh);
      for (int64_t j = 0; j < tiles; ++j) {
        Sum* pixels[kEdge * kEdge];
        for (int64_t k = 0; k < kEdge * kEdge; ++k) {
          const int64_t y = k / kEdge, x = j * kEdge + k % kEdge;
          pixels[k] = acc_ + (y < height && x < width ? y * width + x : kPixels) * columns_;
        }
        transform(i + j, pixels);
      }
      RowRun runs[kEdge];
      for (int64_t y = 0; y < height; ++y) {
        const int64_t pixel = (at.b * a_.out_h + oh + y) * a_.out_w + ow;
        runs[y] = {width, pixel * a_.out_ld, a_.out_ld, pixel * e.residual_ld, e.residual_ld};
      }
      args.runs = runs;
      args.run_count = static_cast<int>(height);
      epilogue_(args);
      i += tiles;
    }
  }

 private:
  // What one epilogue takes, from L1. One more pixel takes what lies outside the image.
  static constexpr int64_t kTiles = 16 / kEdge, kPixels = kTiles * kEdge * kEdge;

  const ConvArgs& a_;
  WinogradTiles<kEdge> tiles_;
  int64_t columns_;
  EpilogueFn epilogue_;
  OutputRange range_;
  Sum* acc_;
};

}  // namespace lowp::kernels
