#include "kernels/norm/reference.h"

#include <vector>

#include "kernels/quantize/reference.h"
#include "kernels/reduce/reference.h"

namespace lowp::kernels::reference {
namespace {

struct Moments {
  float mean, inv_std;
};

Moments moments(const std::vector<float>& s, bool rms, float eps) {
  auto n = static_cast<int64_t>(s.size());
  auto value = [&](int64_t i) { return s[static_cast<size_t>(i)]; };
  float mean = rms ? 0.0f : lane_sum(n, value) / static_cast<float>(n);
  float squares = lane_sum_square(n, [&](int64_t i) { return rms ? value(i) : value(i) - mean; });
  return {mean, 1.0f / std::sqrt(squares / static_cast<float>(n) + eps)};
}

float affine(float v, const float* gamma, const float* beta, int64_t i) {
  if (gamma && beta) return std::fma(v, gamma[i], beta[i]);
  return gamma ? v * gamma[i] : beta ? v + beta[i] : v;
}

}  // namespace

void layer_norm_f32(const LayerNormArgs& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    std::vector<float> s(static_cast<size_t>(a.n));
    for (int64_t i = 0; i < a.n; ++i) {
      s[static_cast<size_t>(i)] = a.residual ? a.x[r * a.n + i] + a.residual[r * a.n + i] : a.x[r * a.n + i];
    }
    auto [mean, inv] = moments(s, a.rms, a.eps);
    if (a.mean_out) a.mean_out[r] = mean;
    if (a.inv_std_out) a.inv_std_out[r] = inv;
    for (int64_t i = 0; i < a.n; ++i) {
      float v = s[static_cast<size_t>(i)];
      if (a.sum_out) a.sum_out[r * a.n + i] = v;
      v = (a.rms ? v : v - mean) * inv;
      const float y = affine(v, a.gamma, a.beta, i);
      if (a.y) a.y[r * a.n + i] = y;
      if (a.quantized) {
        const float q = a.q_gamma ? affine(v, a.q_gamma, a.q_beta, i) : y;
        static_cast<uint8_t*>(a.quantized)[r * a.n + i] =
            static_cast<uint8_t>(quantize(a.q_dtype, q, a.q_scale, a.q_zero, a.q_range));
      }
    }
  }
}

void group_norm_f32(const GroupNormArgs& a) {
  int64_t n = a.channels / a.groups * a.inner;
  for (int64_t r = 0; r < a.batch * a.groups; ++r) {
    const float* x = a.x + r * n;
    auto [mean, inv] = moments({x, x + n}, false, a.eps);
    for (int64_t i = 0; i < n; ++i) {
      int64_t c = (r % a.groups * n + i) / a.inner;
      a.y[r * n + i] = std::fma((x[i] - mean) * inv, a.gamma[c], a.beta[c]);
    }
  }
}

void l2_normalize_f32(const float* x, float* y, int64_t rows, int64_t n, float eps) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    float norm = std::sqrt(lane_sum_square(n, [&](int64_t i) { return x[i]; }));
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] / (eps > norm ? eps : norm);
  }
}

}  // namespace lowp::kernels::reference
