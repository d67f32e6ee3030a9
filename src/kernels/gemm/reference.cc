#define LOWP_TARGET gemm_reference
#include "kernels/gemm/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/status.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace lowp::kernels::reference {
namespace {

namespace v = lowp::gemm_reference;

float activate(const Epilogue& e, float x) {
  switch (e.activation) {
    case Activation::kNone: return x;
    case Activation::kRelu: return 0.0f > x ? 0.0f : x;
    case Activation::kClip: {
      float low = e.lo > x ? e.lo : x;
      return e.hi < low ? e.hi : low;
    }
    case Activation::kGelu: return v::first(v::gelu(v::set(x)));
    case Activation::kGeluCoarse: return v::first(v::gelu_coarse(v::set(x)));
    case Activation::kGeluTanh: return v::first(v::gelu_tanh(v::set(x)));
    case Activation::kSigmoid: return v::first(v::sigmoid(v::set(x)));
    case Activation::kTanh: return v::first(v::tanh(v::set(x)));
    case Activation::kSilu: return v::first(v::silu(v::set(x)));
    case Activation::kHardSwish: return v::first(v::hard_swish(v::set(x)));
    case Activation::kLeakyRelu: return x < 0.0f ? x * e.alpha : x;
  }
  return x;
}

// Element `at` of the residual joined to y.
float add_residual(const Epilogue& e, int64_t at, float y) {
  switch (e.residual_dtype) {
    case DType::kF32: return y + static_cast<const float*>(e.residual)[at];
    case DType::kBF16: return y + static_cast<float>(static_cast<const BFloat16*>(e.residual)[at]);
    case DType::kF16: return y + static_cast<float>(static_cast<const Float16*>(e.residual)[at]);
    case DType::kU8:
      return std::fma(static_cast<float>(static_cast<const uint8_t*>(e.residual)[at] - e.residual_zero),
                      e.residual_scale, y);
    case DType::kI8:
      return std::fma(static_cast<float>(static_cast<const int8_t*>(e.residual)[at] - e.residual_zero),
                      e.residual_scale, y);
    default: LOWP_CHECK(false);
  }
}

// A value in steps of a quantized output; relu and clip are part of the clamp.
void store_steps(const Epilogue& e, void* out, int64_t at, float scaled) {
  const bool is_signed = e.out == DType::kI8;
  float low = static_cast<float>(e.out_range.least(is_signed) - e.out_zero),
        high = static_cast<float>(e.out_range.most(is_signed) - e.out_zero);
  const float least = low, most = high;
  if (e.activation == Activation::kRelu) low = std::max(low, 0.0f);
  if (e.activation == Activation::kClip) {
    low = std::max(low, e.lo * e.out_inv_scale);
    high = std::min(high, e.hi * e.out_inv_scale);
  }
  // A clip range outside what the format holds saturates to the nearer end; a lower end above the upper one yields.
  low = std::min(low, most);
  high = std::max(high, least);
  low = std::min(low, high);
  scaled = scaled > low ? scaled : low;
  scaled = scaled < high ? scaled : high;
  const int q = static_cast<int>(std::nearbyint(scaled)) + e.out_zero;
  if (is_signed)
    static_cast<int8_t*>(out)[at] = static_cast<int8_t>(q);
  else
    static_cast<uint8_t*>(out)[at] = static_cast<uint8_t>(q);
}

// INT8 to INT8, in steps of the output.
float requantized(const Epilogue& e, float acc, int64_t m, int64_t n) {
  const float multiplier = e.scale[n] * e.out_inv_scale;
  if (e.residual == nullptr) return acc * multiplier;
  const int64_t at = m * e.residual_ld + n;
  const int q = e.residual_dtype == DType::kU8 ? static_cast<const uint8_t*>(e.residual)[at]
                                               : static_cast<const int8_t*>(e.residual)[at];
  const float residual_multiplier = e.residual_scale * e.out_inv_scale;
  const float offset = -(static_cast<float>(e.residual_zero) * residual_multiplier);
  return std::fma(static_cast<float>(q), residual_multiplier, std::fma(acc, multiplier, offset));
}

void store(const Epilogue& e, void* out, int64_t at, int64_t n, float y) {
  if (e.out == DType::kF32) {
    static_cast<float*>(out)[at] = y;
  } else if (e.out == DType::kBF16) {
    static_cast<BFloat16*>(out)[at] = BFloat16(y);
  } else if (e.out == DType::kF16) {
    static_cast<Float16*>(out)[at] = Float16(y);
  } else {
    Epilogue plain = e;
    plain.activation = Activation::kNone;
    store_steps(plain, out, at, y * (e.out_inv_scales != nullptr ? e.out_inv_scales[n] : e.out_inv_scale));
  }
}

void finish(const Epilogue& e, float y, int64_t m, int64_t n, void* out, int64_t ldc) {
  if (e.residual != nullptr) y = add_residual(e, m * e.residual_ld + n, y);
  // In a quantized output relu and clip are part of the clamp, and a NaN becomes its lower end.
  const bool quantized = e.out == DType::kU8 || e.out == DType::kI8;
  if (quantized && std::isnan(y) && e.activation == Activation::kRelu) y = 0.0f;
  if (quantized && std::isnan(y) && e.activation == Activation::kClip) y = e.lo;
  store(e, out, m * ldc + n, n, activate(e, y));
}
void finish_f32(const Epilogue& e, float acc, int64_t m, int64_t n, void* out, int64_t ldc) {
  finish(e, acc + (e.bias != nullptr ? e.bias[n] + 0.0f : 0.0f), m, n, out, ldc);
}
void finish_s32(const Epilogue& e, int64_t acc, int64_t m, int64_t n, void* out, int64_t ldc) {
  acc += e.bias_s32 != nullptr ? e.bias_s32[n] : 0;
  LOWP_CHECK(acc == static_cast<int32_t>(acc));
  const bool quantized = e.out == DType::kU8 || e.out == DType::kI8;
  const bool in_clamp =
      e.activation == Activation::kNone || e.activation == Activation::kRelu || e.activation == Activation::kClip;
  const bool residual_q8 = e.residual == nullptr || e.residual_dtype == DType::kU8 || e.residual_dtype == DType::kI8;
  if (quantized && in_clamp && residual_q8)
    return store_steps(e, out, m * ldc + n, requantized(e, static_cast<float>(static_cast<int32_t>(acc)), m, n));
  finish(e, static_cast<float>(static_cast<int32_t>(acc)) * e.scale[n], m, n, out, ldc);
}

float flush(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

// fma as vdpbf16ps does it: what is below 2^-126 after rounding with an unbounded exponent becomes zero. The double
// holds the product exactly, and the sum's rounding error is too small to matter but at that very edge, where it is
// exact.
float flushed_fma(float a, float b, float c) {
  const float r = std::fma(a, b, c);
  const double exact = static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c);
  return std::fabs(exact) < 0x1p-126 * (1.0 - 0x1p-25) ? std::copysign(0.0f, r) : r;
}

float from_bf16(uint16_t bits) { return static_cast<float>(BFloat16::from_bits(bits)); }
float from_f16(uint16_t bits) { return static_cast<float>(Float16::from_bits(bits)); }

// Weight (k, n) of a packed matrix of k_total rows.
struct Weights {
  WeightKind kind;
  const void* b;
  int64_t k_total;
  int64_t index(int64_t k, int64_t n) const {
    const int64_t group = pack_group(kind), rows = (k_total + group - 1) / group * group;
    return n / 16 * rows * 16 + k / group * group * 16 + n % 16 * group + k % group;
  }
  float as_float(int64_t k, int64_t n) const {
    const int64_t i = index(k, n);
    if (kind == WeightKind::kF32) return static_cast<const float*>(b)[i];
    const uint16_t bits = static_cast<const uint16_t*>(b)[i];
    return kind == WeightKind::kBF16 ? from_bf16(bits) : from_f16(bits);
  }
  int as_int(int64_t k, int64_t n) const { return static_cast<const int8_t*>(b)[index(k, n)]; }
};

float load_float(DType dtype, const void* p, int64_t at) {
  if (dtype == DType::kF32) return static_cast<const float*>(p)[at];
  const uint16_t bits = static_cast<const uint16_t*>(p)[at];
  return dtype == DType::kBF16 ? from_bf16(bits) : from_f16(bits);
}
// u8, and s8 read as u8.
int load_u8(DType dtype, const void* p, int64_t at) {
  const int raw = static_cast<const uint8_t*>(p)[at];
  return dtype == DType::kI8 ? raw ^ 0x80 : raw;
}

// Products begin to end as AMX adds them. a(k) and w(k) give the factors.
template <typename A, typename W>
float tiles_sum(int64_t begin, int64_t end, A a, W w) {
  float sum = 0.0f;
  for (int64_t k0 = begin; k0 < end; k0 += 32) {
    float fa[32], fw[32];
    const int64_t count = std::min<int64_t>(32, end - k0);
    for (int64_t k = 0; k < count; ++k)
      fa[k] = static_cast<float>(BFloat16(a(k0 + k))), fw[k] = static_cast<float>(BFloat16(w(k0 + k)));
    sum = tile_bf16(sum, fa, fw, count);
  }
  return sum;
}

// tile_blocks: is_summed_by_blocks().
template <typename A, typename W>
float blocked_sum(int64_t k_total, BF16Products bf16, A a, W w, bool tile_blocks = false) {
  if (bf16 == BF16Products::kTiles && !tile_blocks) return tiles_sum(0, k_total, a, w);
  float sum = 0.0f;
  for (int64_t k0 = 0; k0 < k_total; k0 += 256) {
    const int64_t k1 = k0 + 256 < k_total ? k0 + 256 : k_total;
    float part = 0.0f;
    if (bf16 == BF16Products::kTiles) {
      part = tiles_sum(k0, k1, a, w);
    } else if (bf16 == BF16Products::kPairs) {
      for (int64_t k = k0; k < k1; k += 2) {
        auto factor = [&](auto f, int64_t i) { return i < k1 ? static_cast<float>(BFloat16(f(i))) : 0.0f; };
        part = dot_bf16(part, {factor(a, k), factor(a, k + 1)}, {factor(w, k), factor(w, k + 1)});
      }
    } else {
      for (int64_t k = k0; k < k1; ++k) part = std::fma(a(k), w(k), part);
    }
    sum = k0 == 0 ? part : sum + part;
  }
  return sum;
}

}  // namespace

float dot_bf16(float p, const float (&a)[2], const float (&b)[2]) {
  p = flushed_fma(flush(a[1]), flush(b[1]), p);
  return flushed_fma(flush(a[0]), flush(b[0]), p);
}

float tile_bf16(float s, const float* a, const float* b, int64_t count) {
  float sums[2] = {0.0f, 0.0f};
  for (int64_t k = 0; k < count; ++k) sums[k % 2] = flushed_fma(flush(a[k]), flush(b[k]), sums[k % 2]);
  return flush(flush(s) + flush(sums[0] + sums[1]));
}

void gemm(const GemmArgs& g, BF16Products bf16) {
  const Weights weights{g.b_kind, g.b, g.k};
  for (int64_t m = 0; m < g.m; ++m) {
    for (int64_t n = 0; n < g.n; ++n) {
      if (g.b_kind == WeightKind::kS8) {
        int64_t acc = 0;
        for (int64_t k = 0; k < g.k; ++k) acc += load_u8(g.a_dtype, g.a, m * g.lda + k) * weights.as_int(k, n);
        finish_s32(g.epilogue, acc, m, n, g.c, g.ldc);
        continue;
      }
      const float acc = blocked_sum(
          g.k, g.b_kind == WeightKind::kBF16 ? bf16 : BF16Products::kExpanded,
          [&](int64_t k) { return load_float(g.a_dtype, g.a, m * g.lda + k); },
          [&](int64_t k) { return weights.as_float(k, n); });
      finish_f32(g.epilogue, acc, m, n, g.c, g.ldc);
    }
  }
}

void conv(const ConvArgs& a, BF16Products bf16) {
  const int64_t cg = a.in_c / a.groups, ng = a.out_c / a.groups, k_total = cg * a.kernel_h * a.kernel_w;
  const size_t group_bytes = packed_bytes(a.weight_kind, k_total, ng);
  for (int64_t m = 0; m < a.batch * a.out_h * a.out_w; ++m) {
    const int64_t ow = m % a.out_w, oh = m / a.out_w % a.out_h, b = m / a.out_w / a.out_h;
    for (int64_t n = 0; n < a.out_c; ++n) {
      const int64_t g = n / ng;
      const Weights weights{a.weight_kind, static_cast<const char*>(a.weights) + static_cast<size_t>(g) * group_bytes,
                            k_total};
      // Offset of the input element of k, or -1 in the padding.
      auto offset = [&](int64_t k) -> int64_t {
        const int64_t tap = k / cg, c = k % cg;
        const int64_t ih = oh * a.stride_h - a.pad_top + tap / a.kernel_w * a.dilation_h;
        const int64_t iw = ow * a.stride_w - a.pad_left + tap % a.kernel_w * a.dilation_w;
        if (ih < 0 || ih >= a.in_h || iw < 0 || iw >= a.in_w) return -1;
        return ((b * a.in_h + ih) * a.in_w + iw) * a.in_ld + g * cg + c;
      };
      if (a.weight_kind == WeightKind::kS8) {
        const uint8_t zero = static_cast<uint8_t>(a.in_zero);
        int64_t acc = 0;
        for (int64_t k = 0; k < k_total; ++k) {
          const int64_t at = offset(k);
          acc += (at < 0 ? load_u8(a.in_dtype, &zero, 0) : load_u8(a.in_dtype, a.in, at)) * weights.as_int(k, n % ng);
        }
        finish_s32(a.epilogue, acc, m, n, a.out, a.out_ld);
        continue;
      }
      const float acc = blocked_sum(
          k_total, a.weight_kind == WeightKind::kBF16 ? bf16 : BF16Products::kExpanded,
          [&](int64_t k) {
            const int64_t at = offset(k);
            return at < 0 ? 0.0f : load_float(a.in_dtype, a.in, at);
          },
          [&](int64_t k) { return weights.as_float(k, n % ng); });
      finish_f32(a.epilogue, acc, m, n, a.out, a.out_ld);
    }
  }
}

namespace {

// winograd.h's transforms, along one axis.
void transform_filter(float g0, float g1, float g2, float (&u)[4]) {
  u[0] = g0, u[1] = ((g0 + g2) + g1) * 0.5f, u[2] = ((g0 + g2) - g1) * 0.5f, u[3] = g2;
}
void transform_input(float d0, float d1, float d2, float d3, float (&v)[4]) {
  v[0] = d0 - d2, v[1] = d1 + d2, v[2] = d2 - d1, v[3] = d1 - d3;
}
void transform_sums(float m0, float m1, float m2, float m3, float (&y)[2]) {
  y[0] = (m0 + m1) + m2, y[1] = (m1 - m2) - m3;
}

}  // namespace

void winograd(const ConvArgs& a, const float* filters) {
  const int64_t tiles_h = (a.out_h + 1) / 2, tiles_w = (a.out_w + 1) / 2;
  std::vector<float> u(static_cast<size_t>(a.in_c * 16)), v(u.size());
  for (int64_t n = 0; n < a.out_c; ++n) {
    for (int64_t c = 0; c < a.in_c; ++c) {
      const float* g = filters + (n * a.in_c + c) * 9;
      float columns[3][4];
      for (int j = 0; j < 3; ++j) transform_filter(g[j], g[3 + j], g[6 + j], columns[j]);
      for (int i = 0; i < 4; ++i) {
        float row[4];
        transform_filter(columns[0][i], columns[1][i], columns[2][i], row);
        std::copy_n(row, 4, u.data() + c * 16 + i * 4);
      }
    }
    for (int64_t tile = 0; tile < a.batch * tiles_h * tiles_w; ++tile) {
      const int64_t b = tile / tiles_w / tiles_h, oh = tile / tiles_w % tiles_h * 2, ow = tile % tiles_w * 2;
      for (int64_t c = 0; c < a.in_c; ++c) {
        auto pixel = [&](int64_t i, int64_t j) {
          const int64_t h = oh + i - a.pad_top, w = ow + j - a.pad_left;
          if (h < 0 || h >= a.in_h || w < 0 || w >= a.in_w) return 0.0f;
          return load_float(a.in_dtype, a.in, ((b * a.in_h + h) * a.in_w + w) * a.in_ld + c);
        };
        float columns[4][4];
        for (int j = 0; j < 4; ++j) transform_input(pixel(0, j), pixel(1, j), pixel(2, j), pixel(3, j), columns[j]);
        for (int i = 0; i < 4; ++i) {
          float row[4];
          transform_input(columns[0][i], columns[1][i], columns[2][i], columns[3][i], row);
          std::copy_n(row, 4, v.data() + c * 16 + i * 4);
        }
      }
      float columns[4][2];
      for (int j = 0; j < 4; ++j) {
        float m[4];
        for (int i = 0; i < 4; ++i) {
          auto at = [&](const std::vector<float>& x) {
            return [&, i](int64_t c) { return x[static_cast<size_t>(c * 16 + i * 4 + j)]; };
          };
          m[i] = blocked_sum(a.in_c, BF16Products::kExpanded, at(v), at(u));
        }
        transform_sums(m[0], m[1], m[2], m[3], columns[j]);
      }
      for (int i = 0; i < 2; ++i) {
        float row[2];
        transform_sums(columns[0][i], columns[1][i], columns[2][i], columns[3][i], row);
        for (int j = 0; j < 2; ++j) {
          if (oh + i >= a.out_h || ow + j >= a.out_w) continue;
          finish_f32(a.epilogue, row[j], (b * a.out_h + oh + i) * a.out_w + ow + j, n, a.out, a.out_ld);
        }
      }
    }
  }
}

void depthwise(const DepthwiseArgs& a) {
  const int64_t columns = (a.c + 15) / 16 * 16;
  for (int64_t m = 0; m < a.batch * a.out_h * a.out_w; ++m) {
    const int64_t ow = m % a.out_w, oh = m / a.out_w % a.out_h, b = m / a.out_w / a.out_h;
    for (int64_t c = 0; c < a.c; ++c) {
      float acc_f32 = 0.0f;
      int64_t acc_s32 = 0;
      for (int64_t tap = 0; tap < a.kernel_h * a.kernel_w; ++tap) {
        const int64_t ih = oh * a.stride_h - a.pad_top + tap / a.kernel_w * a.dilation_h;
        const int64_t iw = ow * a.stride_w - a.pad_left + tap % a.kernel_w * a.dilation_w;
        const bool inside = ih >= 0 && ih < a.in_h && iw >= 0 && iw < a.in_w;
        const int64_t at = ((b * a.in_h + ih) * a.in_w + iw) * a.in_ld + c;
        if (a.in_dtype == DType::kF32) {
          acc_f32 = std::fma(inside ? static_cast<const float*>(a.in)[at] : 0.0f,
                             static_cast<const float*>(a.weights)[tap * columns + c], acc_f32);
        } else {
          const uint8_t zero = static_cast<uint8_t>(a.in_zero);
          acc_s32 += (inside ? load_u8(a.in_dtype, a.in, at) : load_u8(a.in_dtype, &zero, 0)) *
                     static_cast<const int8_t*>(a.weights)[tap * columns + c];
        }
      }
      if (a.in_dtype == DType::kF32)
        finish_f32(a.epilogue, acc_f32, m, c, a.out, a.out_ld);
      else
        finish_s32(a.epilogue, acc_s32, m, c, a.out, a.out_ld);
    }
  }
}

void matmul(const MatmulArgs& g, BF16Products bf16) {
  for (int64_t i = 0; i < g.batch[0] * g.batch[1] * g.batch[2]; ++i) {
    const int64_t index[3] = {i / (g.batch[1] * g.batch[2]), i / g.batch[2] % g.batch[1], i % g.batch[2]};
    auto offset = [&](const int64_t(&stride)[3]) {
      return index[0] * stride[0] + index[1] * stride[1] + index[2] * stride[2];
    };
    auto element = [&](const void* p, int64_t at) {
      if (g.dtype == DType::kBF16) return static_cast<float>(static_cast<const BFloat16*>(p)[at]);
      if (g.dtype == DType::kF16) return static_cast<float>(static_cast<const Float16*>(p)[at]);
      return static_cast<const float*>(p)[at];
    };
    const int64_t a = offset(g.a_batch), b = offset(g.b_batch);
    Epilogue e = g.epilogue;
    const int64_t out = offset(g.c_batch);
    if (e.residual != nullptr) {
      e.residual = static_cast<const char*>(e.residual) + out * dtype_bits(e.residual_dtype) / 8;
    }
    void* c = static_cast<char*>(g.c) + out * dtype_bits(e.out) / 8;
    for (int64_t m = 0; m < g.m; ++m) {
      for (int64_t n = 0; n < g.n; ++n) {
        const float acc = blocked_sum(
            g.k, g.dtype == DType::kBF16 ? bf16 : BF16Products::kExpanded,
            [&](int64_t k) { return element(g.a, a + m * g.lda + k * g.a_col); },
            [&](int64_t k) { return element(g.b, b + k * g.b_row + n * g.b_col); }, is_summed_by_blocks(g));
        finish_f32(e, acc, m, n, c, g.ldc);
      }
    }
  }
}

}  // namespace lowp::kernels::reference
