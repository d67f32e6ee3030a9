#include <cmath>
#include <vector>

#include "kernels/batch_norm/batch_norm.h"

namespace lowp::kernels::reference {
namespace {

float get(DType dtype, const void* p, int64_t i) {
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

}  // namespace

void batch_norm(const BatchNormArgs& a) {
  for (int64_t c = 0; c < a.channels; ++c) {
    auto x = [&](int64_t r) { return get(a.dtype, a.x, r * a.channels + c); };
    float mean = 0, m2 = 0;
    for (int64_t begin = 0; begin < a.rows; begin += kBatchNormBlock) {
      const int64_t end = std::min(a.rows, begin + kBatchNormBlock);
      const float n = static_cast<float>(end - begin), seen = static_cast<float>(begin);
      float m = 0, q = 0;
      for (int64_t r = begin; r < end; ++r) m = m + x(r);
      m = m / n;
      for (int64_t r = begin; r < end; ++r) q = std::fma(x(r) - m, x(r) - m, q);
      if (begin == 0) {
        mean = m;
        m2 = q;
        continue;
      }
      const float d = m - mean, share = n / (seen + n);
      mean = std::fma(d, share, mean);
      m2 = std::fma(d * d, seen * share, m2 + q);
    }
    a.mean[c] = mean;
    a.inv_std[c] = 1.0f / std::sqrt(m2 / static_cast<float>(a.rows) + a.eps);
    if (a.variance != nullptr) a.variance[c] = m2 / static_cast<float>(std::max<int64_t>(a.rows - 1, 1));
    for (int64_t r = 0; r < a.rows; ++r) {
      float v = std::fma(x(r) - mean, a.inv_std[c] * a.scale[c], a.bias[c]);
      if (a.residual != nullptr) v = v + get(a.dtype, a.residual, r * a.channels + c);
      if (a.relu) v = 0.0f > v ? 0.0f : v;
      put(a.dtype, a.y, r * a.channels + c, v);
    }
  }
}

void batch_norm_gradient(const BatchNormGradientArgs& a) {
  for (int64_t c = 0; c < a.channels; ++c) {
    const float factor = a.inv_std[c] * a.scale[c];
    auto d = [&](int64_t r) { return get(a.dtype, a.x, r * a.channels + c) - a.mean[c]; };
    auto g = [&](int64_t r) {
      const float dy = get(a.dtype, a.dy, r * a.channels + c);
      if (!a.relu) return dy;
      const float v = a.y != nullptr ? get(a.dtype, a.y, r * a.channels + c) : std::fma(d(r), factor, a.bias[c]);
      return v > 0 ? dy : 0.0f;
    };
    float s = 0, p = 0;
    for (int64_t begin = 0; begin < a.rows; begin += kBatchNormBlock) {
      float block_s = 0, block_p = 0;
      for (int64_t r = begin; r < std::min(a.rows, begin + kBatchNormBlock); ++r) {
        block_s = block_s + g(r);
        block_p = std::fma(g(r), d(r), block_p);
      }
      s = begin == 0 ? block_s : s + block_s;
      p = begin == 0 ? block_p : p + block_p;
    }
    a.dbias[c] = s;
    a.dscale[c] = p * a.inv_std[c];
    const float rows = static_cast<float>(a.rows), share = a.dscale[c] * a.inv_std[c] / rows;
    for (int64_t r = 0; r < a.rows; ++r) {
      if (a.dresidual != nullptr) put(a.dtype, a.dresidual, r * a.channels + c, g(r));
      if (a.dx != nullptr) put(a.dtype, a.dx, r * a.channels + c, factor * std::fma(-d(r), share, g(r) - s / rows));
    }
  }
}

}  // namespace lowp::kernels::reference
