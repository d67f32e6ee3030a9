#include "kernels/conv/order.h"

#include <algorithm>

namespace lowp::kernels {
namespace {

// Tiles of fewer rows wait for the latency of a sum; such rectangles join a neighbour and compute what that needs.
constexpr int64_t kFewRows = 4;
// An order costs tiles that are not full: a part of the work that is worth it.
constexpr int64_t kWorthwhile = 128;

// Neighbouring rows (or columns) that read the same taps of one axis.
struct Band {
  int64_t begin, end;
  uint64_t outside;  // a bit for each tap of the axis
};

// -1 where there are more than `most`.
int bands_of(int64_t out, int64_t in, int64_t taps, int64_t stride, int64_t dilation, int64_t pad, int most,
             Band* bands) {
  int count = 0;
  for (int64_t o = 0; o < out; ++o) {
    uint64_t outside = 0;
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t i = o * stride - pad + t * dilation;
      if (i < 0 || i >= in) outside |= uint64_t{1} << t;
    }
    if (count > 0 && bands[count - 1].outside == outside) {
      bands[count - 1].end = o + 1;
      continue;
    }
    if (count == most) return -1;
    bands[count++] = {o, o + 1, outside};
  }
  return count;
}

// Taps (kh, kw) outside the image for pixels of two bands.
uint64_t taps_outside(const ConvArgs& a, uint64_t rows, uint64_t columns) {
  uint64_t outside = 0;
  for (int64_t kh = 0; kh < a.kernel_h; ++kh) {
    for (int64_t kw = 0; kw < a.kernel_w; ++kw) {
      if (((rows >> kh) & 1) != 0 || ((columns >> kw) & 1) != 0) outside |= uint64_t{1} << (kh * a.kernel_w + kw);
    }
  }
  return outside;
}

}  // namespace

PixelOrder PixelOrder::of(const ConvArgs& a) {
  PixelOrder order;
  const int64_t taps = a.kernel_h * a.kernel_w;
  const bool padding_is_zero = is_floating(a.in_dtype) || (a.in_dtype == DType::kU8 && a.in_zero == 0);
  if (taps == 1 || taps > 64 || !padding_is_zero || a.choice.gather) return order;
  Band rows[kMostBands], columns[kMostBands];
  const int row_bands = bands_of(a.out_h, a.in_h, a.kernel_h, a.stride_h, a.dilation_h, a.pad_top, kMostBands, rows);
  const int column_bands =
      bands_of(a.out_w, a.in_w, a.kernel_w, a.stride_w, a.dilation_w, a.pad_left, kMostBands, columns);
  if (row_bands < 0 || column_bands < 0) return order;

  int64_t position = 0, left_out = 0;
  for (int r = 0; r < row_bands; ++r) {
    int64_t in_piece = 0;
    for (int c = 0; c < column_bands; ++c) {
      const Rectangle next{position,
                           rows[r].begin,
                           rows[r].end - rows[r].begin,
                           columns[c].begin,
                           columns[c].end - columns[c].begin,
                           taps_outside(a, rows[r].outside, columns[c].outside)};
      order.rectangles[order.count++] = next;
      const int64_t pixels = a.batch * next.pixels();
      position += pixels;
      if (in_piece == 0 || (in_piece >= kFewRows && pixels >= kFewRows)) {
        order.pieces[order.piece_count++] = {position, next.outside};
        in_piece = pixels;
      } else {
        RowPiece& piece = order.pieces[order.piece_count - 1];
        piece.end = position;
        piece.left_out &= next.outside;
        in_piece += pixels;
      }
    }
  }
  for (int i = 0; i < order.piece_count; ++i) {
    const int64_t begin = i == 0 ? 0 : order.pieces[i - 1].end;
    left_out += (order.pieces[i].end - begin) * __builtin_popcountll(order.pieces[i].left_out);
  }
  if (left_out * kWorthwhile < position * taps) order.count = order.piece_count = 0;
  return order;
}

PixelOrder::Run PixelOrder::run_at(int64_t position, int64_t most, int64_t batch) const {
  int i = 0;
  while (position >= rectangles[i].begin + batch * rectangles[i].pixels()) ++i;
  const Rectangle& r = rectangles[i];
  const int64_t at = position - r.begin, b = at / r.pixels(), y = at % r.pixels() / r.w, x = at % r.w;
  const bool down = r.w == 1;
  return {b, r.oh + y, r.ow + x, std::min(most, down ? r.h - y : r.w - x), down, r.outside};
}

}  // namespace lowp::kernels
