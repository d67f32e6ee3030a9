#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/conv/gradient.h"
#include "kernels/conv/winograd.h"
#include "kernels/gemm/reference.h"

namespace lowp::kernels::reference {
namespace {

constexpr int64_t kBlock = 256;

float value(DType dtype, const void* p, int64_t i) {
  switch (dtype) {
    case DType::kBF16: return static_cast<float>(static_cast<const BFloat16*>(p)[i]);
    case DType::kF16: return static_cast<float>(static_cast<const Float16*>(p)[i]);
    default: return static_cast<const float*>(p)[i];
  }
}
void put(DType dtype, void* p, int64_t i, float v) {
  switch (dtype) {
    case DType::kBF16: static_cast<BFloat16*>(p)[i] = BFloat16(v); break;
    case DType::kF16: static_cast<Float16*>(p)[i] = Float16(v); break;
    default: static_cast<float*>(p)[i] = v;
  }
}

// A sum in blocks of 256 terms, or of 32 in tiles.
class Sum {
 public:
  explicit Sum(BF16Products bf16) : bf16_(bf16) {}
  void fma(float a, float b) {
    if (bf16_ == BF16Products::kExpanded) return add_to(std::fma(a, b, p_));
    a_[held_] = a;
    b_[held_] = b;
    ++held_;
    if (bf16_ == BF16Products::kTiles) {
      if (held_ == 32) add_tile();
      return;
    }
    if (held_ == 2) take_pair();
    add_to(p_);
  }
  void add(float a) { add_to(p_ + a); }
  float result() {
    if (bf16_ == BF16Products::kTiles) {
      add_tile();
      return s_;
    }
    if (held_ == 1) {
      a_[1] = b_[1] = 0;
      take_pair();
    }
    return terms_ == 0 ? s_ : blocks_ == 0 ? p_ : s_ + p_;
  }

 private:
  void add_to(float p) {
    p_ = p;
    if (++terms_ < kBlock) return;
    s_ = blocks_++ == 0 ? p_ : s_ + p_;
    p_ = 0;
    terms_ = 0;
  }
  void take_pair() {
    p_ = dot_bf16(p_, {a_[0], a_[1]}, {b_[0], b_[1]});
    held_ = 0;
  }
  void add_tile() {
    s_ = tile_bf16(s_, a_, b_, held_);
    held_ = 0;
  }
  BF16Products bf16_;
  float s_ = 0, p_ = 0;
  float a_[32] = {}, b_[32] = {};  // terms that wait for others
  int held_ = 0;
  int64_t terms_ = 0, blocks_ = 0;
};

}  // namespace

namespace {

// As a convolution of dy with the filters turned round.
ConvArgs turned(const ConvInputGradientArgs& a) {
  const ConvShape& s = a.shape;
  ConvArgs c;
  c.batch = s.batch;
  c.in_h = s.out_h, c.in_w = s.out_w, c.in_c = c.in_ld = s.out_c;
  c.out_h = s.in_h, c.out_w = s.in_w, c.out_c = c.out_ld = s.in_c;
  c.kernel_h = s.kernel_h, c.kernel_w = s.kernel_w, c.stride_h = s.stride_h, c.stride_w = s.stride_w;
  c.dilation_h = s.dilation_h, c.dilation_w = s.dilation_w, c.groups = s.groups;
  c.pad_top = s.kernel_h - 1 - s.pad_top, c.pad_left = s.kernel_w - 1 - s.pad_left;
  c.in_dtype = a.dy_dtype, c.epilogue.out = a.dx_dtype;
  c.in = a.dy, c.out = a.dx;
  return c;
}

}  // namespace

void conv_input_gradient(const ConvInputGradientArgs& a, BF16Products bf16) {
  if (a.dy_dtype != DType::kBF16 || a.w_dtype != DType::kBF16 || a.shape.depthwise()) bf16 = BF16Products::kExpanded;
  const ConvShape& s = a.shape;
  if (bf16 == BF16Products::kExpanded && winograd_fits(turned(a))) {
    std::vector<float> filters;
    for (int64_t c = 0; c < s.in_c; ++c) {
      for (int64_t o = 0; o < s.out_c; ++o) {
        for (int64_t t = 8; t >= 0; --t) filters.push_back(value(a.w_dtype, a.w, (o * s.in_c + c) * 9 + t));
      }
    }
    return winograd(turned(a), filters.data());
  }
  const int64_t filters = s.out_c / s.groups, channels = s.in_c / s.groups;
  int64_t at = 0;
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t ih = 0; ih < s.in_h; ++ih)
      for (int64_t iw = 0; iw < s.in_w; ++iw)
        for (int64_t c = 0; c < s.in_c; ++c) {
          Sum sum(bf16);
          for (int64_t kh = s.kernel_h; kh-- > 0;)
            for (int64_t kw = s.kernel_w; kw-- > 0;) {
              const int64_t y = ih + s.pad_top - kh * s.dilation_h, x = iw + s.pad_left - kw * s.dilation_w;
              if (y % s.stride_h != 0 || x % s.stride_w != 0) continue;
              const int64_t oh = y / s.stride_h, ow = x / s.stride_w;
              const bool inside = y >= 0 && x >= 0 && oh < s.out_h && ow < s.out_w;
              for (int64_t i = 0; i < filters; ++i) {
                const int64_t o = c / channels * filters + i;
                const float dy =
                    inside ? value(a.dy_dtype, a.dy, ((b * s.out_h + oh) * s.out_w + ow) * s.out_c + o) : 0.0f;
                sum.fma(dy, value(a.w_dtype, a.w, (o * channels + c % channels) * s.taps() + kh * s.kernel_w + kw));
              }
            }
          put(a.dx_dtype, a.dx, at++, sum.result());
        }
}

namespace {

// dw by winograd.h's formula.
void winograd_weights(const ConvWeightGradientArgs& a) {
  const ConvShape& s = a.shape;
  const int64_t tiles_h = (s.out_h + 1) / 2, tiles_w = (s.out_w + 1) / 2;
  auto pixel = [](DType dtype, const void* p, int64_t b, int64_t y, int64_t x, int64_t h, int64_t w, int64_t c,
                  int64_t channels) {
    const bool inside = y >= 0 && y < h && x >= 0 && x < w;
    return inside ? value(dtype, p, ((b * h + y) * w + x) * channels + c) : 0.0f;
  };
  auto of_input = [](float d0, float d1, float d2, float d3, float(&v)[4]) {
    v[0] = d0 - d2, v[1] = d1 + d2, v[2] = d2 - d1, v[3] = d1 - d3;
  };
  auto of_output = [](float y0, float y1, float(&z)[4]) { z[0] = y0, z[1] = y0 + y1, z[2] = y0 - y1, z[3] = 0 - y1; };
  auto to_filter = [](float u0, float u1, float u2, float u3, float(&g)[3]) {
    g[0] = u0 + (u1 + u2) * 0.5f, g[1] = (u1 - u2) * 0.5f, g[2] = u3 + (u1 + u2) * 0.5f;
  };
  for (int64_t o = 0; o < s.out_c; ++o) {
    for (int64_t c = 0; c < s.in_c; ++c) {
      std::vector<Sum> sums(16, Sum(BF16Products::kExpanded));
      for (int64_t tile = 0; tile < s.batch * tiles_h * tiles_w; ++tile) {
        const int64_t b = tile / tiles_w / tiles_h, oh = tile / tiles_w % tiles_h * 2, ow = tile % tiles_w * 2;
        float dv[4][4], dz[2][4];
        for (int j = 0; j < 4; ++j) {
          float d[4];
          for (int i = 0; i < 4; ++i)
            d[i] = pixel(a.x_dtype, a.x, b, oh + i - s.pad_top, ow + j - s.pad_left, s.in_h, s.in_w, c, s.in_c);
          of_input(d[0], d[1], d[2], d[3], dv[j]);
        }
        for (int j = 0; j < 2; ++j) {
          const float y0 = pixel(a.dy_dtype, a.dy, b, oh, ow + j, s.out_h, s.out_w, o, s.out_c);
          of_output(y0, pixel(a.dy_dtype, a.dy, b, oh + 1, ow + j, s.out_h, s.out_w, o, s.out_c), dz[j]);
        }
        for (int i = 0; i < 4; ++i) {
          float v[4], z[4];
          of_input(dv[0][i], dv[1][i], dv[2][i], dv[3][i], v);
          of_output(dz[0][i], dz[1][i], z);
          for (int j = 0; j < 4; ++j) sums[static_cast<size_t>(i * 4 + j)].fma(z[j], v[j]);
        }
      }
      float columns[4][3];
      for (size_t j = 0; j < 4; ++j)
        to_filter(sums[j].result(), sums[4 + j].result(), sums[8 + j].result(), sums[12 + j].result(), columns[j]);
      for (int i = 0; i < 3; ++i) {
        float row[3];
        to_filter(columns[0][i], columns[1][i], columns[2][i], columns[3][i], row);
        std::copy_n(row, 3, a.dw + (o * s.in_c + c) * 9 + i * 3);
      }
    }
  }
}

// dw by the formula of gradient.h.
void plain_weights(const ConvWeightGradientArgs& a, BF16Products bf16) {
  const ConvShape& s = a.shape;
  const int64_t filters = s.out_c / s.groups, channels = s.in_c / s.groups;
  int64_t at = 0;
  for (int64_t o = 0; o < s.out_c; ++o)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t kh = 0; kh < s.kernel_h; ++kh)
        for (int64_t kw = 0; kw < s.kernel_w; ++kw) {
          Sum sum(bf16);
          for (int64_t p = 0; p < s.pixels(); ++p) {
            const int64_t ih = p / s.out_w % s.out_h * s.stride_h - s.pad_top + kh * s.dilation_h;
            const int64_t iw = p % s.out_w * s.stride_w - s.pad_left + kw * s.dilation_w;
            const int64_t b = p / s.out_w / s.out_h;
            const bool inside = ih >= 0 && iw >= 0 && ih < s.in_h && iw < s.in_w;
            const int64_t from = ((b * s.in_h + ih) * s.in_w + iw) * s.in_c + o / filters * channels + c;
            sum.fma(inside ? value(a.x_dtype, a.x, from) : 0.0f, value(a.dy_dtype, a.dy, p * s.out_c + o));
          }
          a.dw[at++] = sum.result();
        }
}

}  // namespace

void conv_weight_gradient(const ConvWeightGradientArgs& a, BF16Products bf16) {
  const ConvShape& s = a.shape;
  if (a.x_dtype != DType::kBF16 || a.dy_dtype != DType::kBF16 || s.depthwise()) bf16 = BF16Products::kExpanded;
  if (bf16 == BF16Products::kExpanded && winograd_fits(s))
    winograd_weights(a);
  else
    plain_weights(a, bf16);
  if (a.db == nullptr) return;
  for (int64_t o = 0; o < s.out_c; ++o) {
    Sum sum(BF16Products::kExpanded);
    for (int64_t p = 0; p < s.pixels(); ++p) sum.add(value(a.dy_dtype, a.dy, p * s.out_c + o));
    a.db[o] = sum.result();
  }
}

}  // namespace lowp::kernels::reference
