#include "kernels/attention/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/quantize/reference.h"
#include "kernels/reduce/reference.h"
#include "kernels/softmax/reference.h"

namespace lowp::kernels::reference {
namespace {

// Sum of a(i) * b(i) by fma, in blocks of 256.
template <typename A, typename B>
float blocked_dot(int64_t n, A a, B b) {
  float total = 0.0f;
  for (int64_t block = 0; block < n; block += 256) {
    float acc = 0.0f;
    for (int64_t i = block; i < std::min(n, block + 256); ++i) acc = std::fma(a(i), b(i), acc);
    total = block == 0 ? acc : total + acc;
  }
  return total;
}

void store(const AttentionArgs& a, int64_t b, int64_t h, int64_t s, int64_t i, float y) {
  const int64_t at = b * a.y_strides.batch + s * a.y_strides.row + h * a.y_strides.head + i;
  if (a.y_dtype == DType::kF32)
    static_cast<float*>(a.y)[at] = y;
  else
    static_cast<uint8_t*>(a.y)[at] = static_cast<uint8_t>(quantize(a.y_dtype, y, a.y_scale, a.y_zero, a.y_range));
}

// The same of y / y_scale.
void store_steps(AttentionArgs a, int64_t b, int64_t h, int64_t s, int64_t i, float steps) {
  a.y_scale = 1.0f;
  store(a, b, h, s, i, steps);
}

void one_query(const AttentionArgs& a, int64_t b, int64_t h, int64_t s) {
  int64_t kv_head = a.kv_heads > 0 ? h / (a.heads / a.kv_heads) : h;
  const float* q = a.q + b * a.q_strides.batch + s * a.q_strides.row + h * a.q_strides.head;
  const float* k = a.k + b * a.k_strides.batch + kv_head * a.k_strides.head;
  const float* v = a.v + b * a.v_strides.batch + kv_head * a.v_strides.head;
  const float* mask = a.mask ? a.mask + b * a.mask_batch + h * a.mask_head + s * a.mask_row : nullptr;

  std::vector<float> w(static_cast<size_t>(a.t));
  for (int64_t t = 0; t < a.t; ++t) {
    w[static_cast<size_t>(t)] = blocked_dot(
        a.d, [&](int64_t i) { return q[i] * a.scale; }, [&](int64_t i) { return k[t * a.k_strides.row + i]; });
  }
  int64_t visible = a.causal ? std::clamp<int64_t>(s + 1 + a.t - a.s, 0, a.t) : a.t;
  std::vector<float> p = w;
  softmax_row(p.data(), mask, false, w.data(), visible);
  std::fill(w.begin() + visible, w.end(), 0.0f);

  for (int64_t i = 0; i < a.dv; ++i) {
    store(a, b, h, s, i,
          blocked_dot(
              a.t, [&](int64_t t) { return w[static_cast<size_t>(t)]; },
              [&](int64_t t) { return v[t * a.v_strides.row + i]; }));
  }
}

constexpr float kSteps = 2047.0f;

// [rows, n] in steps of 1/2047 of its largest magnitude.
struct Steps {
  std::vector<int32_t> values;
  float scale;
  Steps(const float* x, int64_t rows, int64_t stride, int64_t n) {
    float largest = 0x1p-100f;
    auto at = [&](int64_t i) { return x[i / n * stride + i % n]; };
    for (int64_t i = 0; i < rows * n; ++i) largest = std::fabs(at(i)) > largest ? std::fabs(at(i)) : largest;
    scale = largest / kSteps;
    for (int64_t i = 0; i < rows * n; ++i) values.push_back(rounded(at(i) * (kSteps / largest), -kSteps));
  }
  static int32_t rounded(float x, float least) {
    x = x > least ? x : least;
    return static_cast<int32_t>(std::nearbyint(x < kSteps ? x : kSteps));
  }
};
// Sum of a(i) * b(i), exact in blocks of 512.
template <typename A, typename B>
float blocked_int_dot(int64_t n, A a, B b) {
  float total = 0.0f;
  for (int64_t block = 0; block < n; block += 512) {
    int64_t sum = 0;
    for (int64_t i = block; i < std::min(n, block + 512); ++i) sum += int64_t{a(i)} * b(i);
    total = block == 0 ? static_cast<float>(sum) : total + static_cast<float>(sum);
  }
  return total;
}

void one_query_s16(const AttentionArgs& a, int64_t b, int64_t h, int64_t s) {
  int64_t kv_head = a.kv_heads > 0 ? h / (a.heads / a.kv_heads) : h;
  const Steps q(a.q + b * a.q_strides.batch + s * a.q_strides.row + h * a.q_strides.head, 1, 0, a.d);
  const Steps k(a.k + b * a.k_strides.batch + kv_head * a.k_strides.head, a.t, a.k_strides.row, a.d);
  const Steps v(a.v + b * a.v_strides.batch + kv_head * a.v_strides.head, a.t, a.v_strides.row, a.dv);
  const float* mask = a.mask ? a.mask + b * a.mask_batch + h * a.mask_head + s * a.mask_row : nullptr;
  const int64_t visible = a.causal ? std::clamp<int64_t>(s + 1 + a.t - a.s, 0, a.t) : a.t;

  std::vector<float> p(static_cast<size_t>(visible));
  float greatest = -INFINITY;
  for (int64_t t = 0; t < visible; ++t) {
    float& score = p[static_cast<size_t>(t)];
    score = blocked_int_dot(
                a.d, [&](int64_t i) { return q.values[static_cast<size_t>(i)]; },
                [&](int64_t i) { return k.values[static_cast<size_t>(t * a.d + i)]; }) *
            ((q.scale * k.scale) * a.scale);
    if (mask) score = score + mask[t];
    greatest = std::max(greatest, score);
  }
  std::vector<int32_t> w(static_cast<size_t>(a.t), 0);
  const float log2_e = 0x1.715476p+0f, top = -(greatest * log2_e);
  for (int64_t t = 0; t < visible; ++t) {
    float u = std::fma(p[static_cast<size_t>(t)], log2_e, top);
    u = u < -30.0f ? -30.0f : u;
    const float n = std::nearbyint(u), f = u - n;
    const float c =
        std::fma(std::fma(std::fma(0x1.c3bee0p+6f, f, 0x1.f0a000p+8f), f, 0x1.62c6bcp+10f), f, 0x1.ffb694p+10f);
    w[static_cast<size_t>(t)] = Steps::rounded(std::ldexp(c, static_cast<int>(n)), 0.0f);
  }
  const float sum = lane_sum(visible, [&](int64_t t) { return static_cast<float>(w[static_cast<size_t>(t)]); });
  for (int64_t i = 0; i < a.dv; ++i) {
    const float y = blocked_int_dot(
        a.t, [&](int64_t t) { return w[static_cast<size_t>(t)]; },
        [&](int64_t t) { return v.values[static_cast<size_t>(t * a.dv + i)]; });
    const float factor = visible > 0 ? v.scale / sum : 0.0f;
    if (a.y_dtype == DType::kF32)
      store(a, b, h, s, i, y * factor);
    else
      store_steps(a, b, h, s, i, y * (factor * (1.0f / a.y_scale)));
  }
}

}  // namespace

void attention(const AttentionArgs& a) {
  for (int64_t b = 0; b < a.batch; ++b)
    for (int64_t h = 0; h < a.heads; ++h)
      for (int64_t s = 0; s < a.s; ++s) (a.s16 ? one_query_s16 : one_query)(a, b, h, s);
}

}  // namespace lowp::kernels::reference
