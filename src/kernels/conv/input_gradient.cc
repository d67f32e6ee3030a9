#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/align.h"
#include "base/status.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/gradient.h"
#include "kernels/conv/pack.h"
#include "kernels/conv/table.h"
#include "kernels/conv/winograd.h"
#include "kernels/gemm/driver.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ConvTable, conv_table)

namespace lowp::kernels {
namespace {

// The positions of one axis that are `first` modulo the stride, and the taps that reach them: position first + j *
// stride reads dy at j - pad + i * dilation for tap number i of `taps`, whose kernel index falls by `step` from `last`.
struct Phase {
  int64_t first, count;
  int64_t last, step, taps;
  int64_t dilation, pad;
};
Phase phase_of(int64_t residue, int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
  Phase p{};
  p.first = ((residue - pad) % stride + stride) % stride;
  p.count = p.first < in ? (in - 1 - p.first) / stride + 1 : 0;
  const int64_t common = std::gcd(stride, dilation);
  p.step = stride / common;
  p.dilation = dilation / common;
  p.last = -1;
  for (int64_t k = 0; k < kernel; ++k) {
    if (k * dilation % stride != residue) continue;
    p.last = k;
    ++p.taps;
  }
  p.pad = -(p.first + pad - p.last * dilation) / stride;  // divides
  return p;
}

template <typename Body>
void for_phases(const ConvShape& s, Body&& body) {
  for (int64_t h = 0; h < s.stride_h; ++h) {
    const Phase ph = phase_of(h, s.in_h, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top);
    for (int64_t w = 0; w < s.stride_w; ++w) {
      const Phase pw = phase_of(w, s.in_w, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left);
      if (ph.count > 0 && pw.count > 0) body(ph, pw);
    }
  }
}

// The phase as a convolution of dy without strides.
ConvArgs conv_of(const ConvInputGradientArgs& a, const Phase& h, const Phase& w) {
  const ConvShape& s = a.shape;
  ConvArgs c;
  c.batch = s.batch;
  c.in_h = s.out_h, c.in_w = s.out_w, c.in_c = c.in_ld = s.out_c;
  c.out_h = h.count, c.out_w = w.count, c.out_c = s.in_c;
  c.kernel_h = h.taps, c.kernel_w = w.taps;
  c.dilation_h = h.dilation, c.dilation_w = w.dilation;
  c.pad_top = h.pad, c.pad_left = w.pad;
  c.groups = s.groups;
  c.in_dtype = a.dy_dtype;
  c.weight_kind = product_kind(a.dy_dtype, a.w_dtype);
  c.epilogue.out = a.dx_dtype;
  c.in = a.dy;
  c.out_ld = s.stride_w * s.in_c;
  if (s.stride_h > 1 || s.stride_w > 1) {
    c.out_line = s.stride_h * s.in_w * s.in_c;
    c.out_image = s.in_h * s.in_w * s.in_c;
  }
  return c;
}

// `c` is the convolution of the only phase, or of one of several, which the algorithm is not meant for.
bool is_winograds(const ConvArgs& c) {
  return c.weight_kind == WeightKind::kF32 && c.out_line == 0 && winograd_fits(c);
}

char* pixel_of(const ConvInputGradientArgs& a, int64_t b, int64_t h, int64_t w) {
  const ConvShape& s = a.shape;
  return static_cast<char*>(a.dx) + ((b * s.in_h + h) * s.in_w + w) * s.in_c * dtype_bits(a.dx_dtype) / 8;
}

void clear_phase(const ConvInputGradientArgs& a, const Phase& h, const Phase& w, int threads) {
  const ConvShape& s = a.shape;
  const auto bytes = static_cast<size_t>(s.in_c * dtype_bits(a.dx_dtype) / 8);
  parallel_ranges(threads, s.batch * h.count, kGrainElements / (w.count * s.in_c) + 1, 1,
                  [&](int64_t begin, int64_t end) {
                    for (int64_t i = begin; i < end; ++i) {
                      const int64_t b = i / h.count, y = h.first + i % h.count * s.stride_h;
                      for (int64_t j = 0; j < w.count; ++j)
                        std::memset(pixel_of(a, b, y, w.first + j * s.stride_w), 0, bytes);
                    }
                  });
}

// ---- depthwise: each pixel of dx reads its taps ----

struct DepthwisePlan {
  size_t weights, zero, bytes;
};
DepthwisePlan depthwise_plan(const ConvInputGradientArgs& a) {
  const ConvShape& s = a.shape;
  DepthwisePlan p{};
  p.weights = align64(static_cast<size_t>(s.taps() * round_up(s.in_c, 16)) * sizeof(float));
  p.zero = align64(static_cast<size_t>(s.in_c * dtype_bits(a.dy_dtype) / 8));
  p.bytes = p.weights + p.zero;
  return p;
}

void depthwise(const ConvInputGradientArgs& a, char* scratch, int threads) {
  const ConvShape& s = a.shape;
  const ConvTable& table = LOWP_SELECT_TABLE(conv_table);
  const DepthwisePlan p = depthwise_plan(a);
  float* weights = reinterpret_cast<float*>(scratch);
  char* zero = scratch + p.weights;
  pack_depthwise_f32(a.w_dtype, a.w, s.in_c, s.taps(), weights);
  std::memset(zero, 0, p.zero);
  const int64_t pixel = s.in_c * dtype_bits(a.dy_dtype) / 8;
  const int64_t work = std::max<int64_t>(s.in_w * s.in_c * s.taps(), 1);
  parallel_ranges(threads, s.batch * s.in_h, kGrainElements / work + 1, 1, [&](int64_t begin, int64_t end) {
    const void* rows[kMaxGradientTaps];
    int32_t tap[kMaxGradientTaps];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / s.in_h, ih = i % s.in_h;
      for (int64_t iw = 0; iw < s.in_w; ++iw) {
        int64_t taps = 0;
        for (int64_t kh = s.kernel_h; kh-- > 0;) {
          const int64_t y = ih + s.pad_top - kh * s.dilation_h;
          if (y % s.stride_h != 0) continue;
          for (int64_t kw = s.kernel_w; kw-- > 0;) {
            const int64_t x = iw + s.pad_left - kw * s.dilation_w;
            if (x % s.stride_w != 0) continue;
            const int64_t oh = y / s.stride_h, ow = x / s.stride_w;
            const bool inside = y >= 0 && x >= 0 && oh < s.out_h && ow < s.out_w;
            rows[taps] = inside ? static_cast<const char*>(a.dy) + ((b * s.out_h + oh) * s.out_w + ow) * pixel : zero;
            tap[taps++] = static_cast<int32_t>(kh * s.kernel_w + kw);
          }
        }
        table.depthwise_input(a.dy_dtype, a.dx_dtype, rows, tap, taps, weights, round_up(s.in_c, 16), s.in_c,
                              pixel_of(a, b, ih, iw));
      }
    }
  });
}

}  // namespace

size_t conv_input_gradient_scratch(const ConvInputGradientArgs& a, int threads) {
  const ConvShape& s = a.shape;
  if (s.depthwise()) return depthwise_plan(a).bytes;
  size_t most = 0;
  for_phases(s, [&](const Phase& h, const Phase& w) {
    if (h.taps * w.taps == 0) return;
    const size_t packed = packed_flipped_bytes(product_kind(a.dy_dtype, a.w_dtype), s.out_c, s.in_c / s.groups,
                                               h.taps * w.taps, s.groups);
    const ConvArgs c = conv_of(a, h, w);
    most =
        std::max(most, align64(packed) + (is_winograds(c) ? winograd_scratch(c, threads) : conv_scratch(c, threads)));
  });
  return most;
}

void conv_input_gradient(const ConvInputGradientArgs& a, void* scratch, int threads) {
  const ConvShape& s = a.shape;
  LOWP_CHECK(s.taps() <= kMaxGradientTaps);
  if (s.depthwise()) return depthwise(a, static_cast<char*>(scratch), threads);
  for_phases(s, [&](const Phase& h, const Phase& w) {
    const int64_t taps = h.taps * w.taps;
    if (taps == 0) return clear_phase(a, h, w, threads);
    int32_t chosen[kMaxGradientTaps];
    for (int64_t i = 0; i < taps; ++i) {
      const int64_t kh = h.last - i / w.taps * h.step, kw = w.last - i % w.taps * w.step;
      chosen[i] = static_cast<int32_t>(kh * s.kernel_w + kw);
    }
    char* packed = static_cast<char*>(scratch);
    const WeightKind kind = product_kind(a.dy_dtype, a.w_dtype);
    pack_flipped(kind, a.w_dtype, a.w, s.out_c, s.in_c / s.groups, s.taps(), s.groups, chosen, taps, packed, threads);
    ConvArgs c = conv_of(a, h, w);
    c.weights = packed;
    c.out = pixel_of(a, 0, h.first, w.first);
    char* const rest = packed + align64(packed_flipped_bytes(kind, s.out_c, s.in_c / s.groups, taps, s.groups));
    is_winograds(c) ? winograd(c, rest, threads) : conv(c, rest, threads);
  });
}

}  // namespace lowp::kernels
