// Where the taps of a convolution lie in memory; shared by the forward pass and the gradient of weights. `Shape` is
// ConvArgs or ConvShape; bytes of a pixel, `pixel`, are those between neighbours.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace lowp::kernels {

// out[i] = address of what tap (kh, kw) of output pixel m0 + i reads, `zero` where that is outside the image.
template <typename Shape>
void tap_pointers(const Shape& a, const char* in, int64_t pixel, const char* zero, int64_t kh, int64_t kw, int64_t m0,
                  int64_t count, const void** out) {
  int64_t ow = m0 % a.out_w, oh = m0 / a.out_w % a.out_h, b = m0 / a.out_w / a.out_h;
  for (int64_t i = 0; i < count;) {
    // The rest of one output row at a time.
    const int64_t ih = oh * a.stride_h - a.pad_top + kh * a.dilation_h;
    const int64_t end = std::min(count, i + a.out_w - ow);
    const bool inside = ih >= 0 && ih < a.in_h;
    const char* line = in + (b * a.in_h + ih) * a.in_w * pixel;
    int64_t iw = ow * a.stride_w - a.pad_left + kw * a.dilation_w;
    for (; i < end; ++i, iw += a.stride_w) out[i] = inside && iw >= 0 && iw < a.in_w ? line + iw * pixel : zero;
    ow = 0;
    if (++oh == a.out_h) oh = 0, ++b;
  }
}

// Extents of an image that is copied with its padding, so that a row of the kernel is kernel_w * in_c contiguous
// elements. For layers of few channels without groups and with dilation_w 1.
struct PaddedImage {
  int64_t h = 0, w = 0;
  template <typename Shape>
  static PaddedImage of(const Shape& a) {
    return {(a.out_h - 1) * a.stride_h + (a.kernel_h - 1) * a.dilation_h + 1,
            (a.out_w - 1) * a.stride_w + (a.kernel_w - 1) * a.dilation_w + 1};
  }
};

// Line y of the padded copy of one image, whose elements have `bytes` bytes and whose pixels lie in_ld apart; those of
// the copy have `to_bytes`. copy(to, from, elements) copies what lies together.
template <typename Shape, typename Copy>
void copy_padded_line(const Shape& a, const PaddedImage& p, int64_t bytes, int64_t to_bytes, int64_t in_ld, int padding,
                      const char* in, int64_t y, char* dst, Copy&& copy) {
  const int64_t pixel = a.in_c * to_bytes, line = p.w * pixel;
  const int64_t left = std::min(a.pad_left, p.w), inside = std::clamp<int64_t>(p.w - left, 0, a.in_w);
  const int64_t ih = y - a.pad_top;
  if (ih < 0 || ih >= a.in_h) {
    std::memset(dst, padding, static_cast<size_t>(line));
    return;
  }
  std::memset(dst, padding, static_cast<size_t>(left * pixel));
  const char* src = in + ih * a.in_w * in_ld * bytes;
  char* at = dst + left * pixel;
  if (in_ld == a.in_c) {
    copy(at, src, inside * a.in_c);
  } else {
    for (int64_t x = 0; x < inside; ++x) copy(at + x * pixel, src + x * in_ld * bytes, a.in_c);
  }
  std::memset(at + inside * pixel, padding, static_cast<size_t>((p.w - left - inside) * pixel));
}
template <typename Shape>
void copy_padded_line(const Shape& a, const PaddedImage& p, int64_t bytes, int64_t in_ld, int padding, const char* in,
                      int64_t y, char* dst) {
  copy_padded_line(a, p, bytes, bytes, in_ld, padding, in, y, dst,
                   [bytes](char* to, const char* from, int64_t elements) {
                     std::memcpy(to, from, static_cast<size_t>(elements * bytes));
                   });
}

}  // namespace lowp::kernels
