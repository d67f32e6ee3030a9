// The optimizer family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/optimizer/table.h"
#include "simd/math.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::AdamArgs;
using kernels::AdamRule;
using kernels::SgdArgs;

void sgd(const SgdArgs& a, const float* w, const float* g, const float* v, float* w_out, float* v_out, int64_t n) {
  const F32 scale = set(a.gradient_scale), decay = set(a.weight_decay), momentum = set(a.momentum);
  const F32 rate = set(-a.learning_rate);
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    const F32 weight = load_n(w + i, lanes);
    F32 d = fma(decay, weight, load_n(g + i, lanes) * scale);
    if (v != nullptr) {
      const F32 velocity = fma(momentum, load_n(v + i, lanes), d);
      store_n(v_out + i, velocity, lanes);
      d = a.nesterov ? fma(momentum, velocity, d) : velocity;
    }
    store_n(w_out + i, fma(rate, d, weight), lanes);
  });
}

template <AdamRule kRule>
void adam_loop(const AdamArgs& a, const float* w, const float* g, const float* m, const float* v, float* w_out,
               float* m_out, float* v_out, int64_t n) {
  const F32 scale = set(a.gradient_scale), decay = set(a.weight_decay), rate = set(-a.learning_rate);
  const F32 rest1 = set(1.0f - a.beta1), beta2 = set(a.beta2), rest2 = set(1.0f - a.beta2);
  const F32 correction1 = set(a.correction1), correction2 = set(a.correction2), epsilon = set(a.epsilon);
  const F32 shrink = set(a.learning_rate * a.weight_decay);
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    const F32 weight = load_n(w + i, lanes);
    F32 gradient = load_n(g + i, lanes) * scale;
    if constexpr (kRule == AdamRule::kAdam) gradient = fma(decay, weight, gradient);
    F32 mean = load_n(m + i, lanes);
    mean = fma(rest1, gradient - mean, mean);
    const F32 square = fma(rest2 * gradient, gradient, beta2 * load_n(v + i, lanes));
    store_n(m_out + i, mean, lanes);
    store_n(v_out + i, square, lanes);
    F32 u = (mean / correction1) / (sqrt(square / correction2) + epsilon);
    if constexpr (kRule == AdamRule::kLamb) {
      store_n(w_out + i, fma(decay, weight, u), lanes);
    } else {
      store_n(w_out + i, fma(rate, u, kRule == AdamRule::kAdamW ? weight - shrink * weight : weight), lanes);
    }
  });
}

void adam(const AdamArgs& a, const float* w, const float* g, const float* m, const float* v, float* w_out, float* m_out,
          float* v_out, int64_t n) {
  switch (a.rule) {
    case AdamRule::kAdam: return adam_loop<AdamRule::kAdam>(a, w, g, m, v, w_out, m_out, v_out, n);
    case AdamRule::kAdamW: return adam_loop<AdamRule::kAdamW>(a, w, g, m, v, w_out, m_out, v_out, n);
    case AdamRule::kLamb: return adam_loop<AdamRule::kLamb>(a, w, g, m, v, w_out, m_out, v_out, n);
  }
}

void descend(float rate, const float* w, const float* u, float* w_out, int64_t n) {
  const F32 minus = set(-rate);
  for_lanes(n, [&](int64_t i, int lanes)
                   LOWP_INLINE { store_n(w_out + i, fma(minus, load_n(u + i, lanes), load_n(w + i, lanes)), lanes); });
}

double square_sum(const float* x, float scale, int64_t n) {
  F32 sum = zero(), check = zero();
  const F32 factor = set(scale);
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    const F32 value = load_n(x + i, lanes);
    const F32 scaled = value * factor;
    sum = fma(scaled, scaled, sum);
    check = check + (value - value);  // 0 - 0, or NaN where value is not finite
  });
  const float bad = reduce_add(check);
  return bad == 0.0f ? static_cast<double>(reduce_add(sum)) : static_cast<double>(bad);
}

}  // namespace

extern const kernels::OptimizerTable optimizer_table;
const kernels::OptimizerTable optimizer_table = {sgd, adam, descend, square_sum};

}  // namespace lowp::LOWP_TARGET
