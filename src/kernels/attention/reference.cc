#include "kernels/attention/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/quantize/reference.h"
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

  int64_t offset = b * a.y_strides.batch + s * a.y_strides.row + h * a.y_strides.head;
  for (int64_t i = 0; i < a.dv; ++i) {
    float y = blocked_dot(
        a.t, [&](int64_t t) { return w[static_cast<size_t>(t)]; },
        [&](int64_t t) { return v[t * a.v_strides.row + i]; });
    if (a.y_dtype == DType::kF32) {
      static_cast<float*>(a.y)[offset + i] = y;
    } else {
      static_cast<uint8_t*>(a.y)[offset + i] =
          static_cast<uint8_t>(quantize(a.y_dtype, y, a.y_scale, a.y_zero, a.y_range));
    }
  }
}

}  // namespace

void attention_f32(const AttentionArgs& a) {
  for (int64_t b = 0; b < a.batch; ++b)
    for (int64_t h = 0; h < a.heads; ++h)
      for (int64_t s = 0; s < a.s; ++s) one_query(a, b, h, s);
}

}  // namespace lowp::kernels::reference
