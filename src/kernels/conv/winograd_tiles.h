// Inside the conv family: the tiles of Winograd's algorithm (winograd.h) and what they read.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lowp::kernels {

inline constexpr int64_t kWinogradPositions = 16;  // of a transformed tile or filter

// Tiles of 2x2 output pixels, of all images; the last of a row or column may reach beyond the image. `Shape` is
// ConvArgs or ConvShape.
struct WinogradTiles {
  int64_t h = 0, w = 0;  // of an image
  int64_t count = 0;

  template <typename Shape>
  static WinogradTiles of(const Shape& s) {
    const int64_t h = (s.out_h + 1) / 2, w = (s.out_w + 1) / 2;
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

// The 16 input pixels of a tile, `bytes` apart; `zeros` where they lie outside the image.
template <typename Shape>
void input_pixels(const Shape& s, const void* in, int64_t bytes, const void* zeros, const WinogradTiles::Place& at,
                  const void* (&pixels)[kWinogradPositions]) {
  for (int64_t i = 0; i < kWinogradPositions; ++i) {
    const int64_t h = at.y * 2 - s.pad_top + i / 4, w = at.x * 2 - s.pad_left + i % 4;
    const bool inside = h >= 0 && h < s.in_h && w >= 0 && w < s.in_w;
    pixels[i] = inside ? static_cast<const char*>(in) + ((at.b * s.in_h + h) * s.in_w + w) * bytes : zeros;
  }
}

}  // namespace lowp::kernels
