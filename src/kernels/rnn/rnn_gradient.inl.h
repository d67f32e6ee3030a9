// Gradients of gates over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/rnn/gradient_table.h"
#include "simd/math.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::RnnBackStep;
using kernels::RnnGradientArgs;

// Where an item is in this step of the forward loop; `previous` is the row of the step before it, -1 in the first.
struct BackPlace {
  int64_t row, previous;
  bool active, last;
};
inline BackPlace back_place(const RnnGradientArgs& a, const RnnBackStep& s, int64_t item) {
  const int64_t length = a.lengths != nullptr ? a.lengths[item] : a.steps;
  const bool active = s.step < length;
  const int64_t t = active && a.reverse ? length - 1 - s.step : s.step;
  const int64_t before = a.reverse ? t + 1 : t - 1;
  return {t * a.batch + item, s.step == 0 ? -1 : before * a.batch + item, active, s.step == length - 1};
}
// An item's h or c before this step: from `all`, the initial one, or zeros (null).
inline const float* before_step(const RnnGradientArgs& a, const BackPlace& p, const float* all, const float* initial,
                                int64_t item) {
  if (p.previous >= 0) return all + p.previous * a.hidden;
  return initial != nullptr ? initial + item * a.hidden : nullptr;
}
[[gnu::always_inline]] inline F32 load_or_zero(const float* p, int64_t at, int lanes) {
  return p != nullptr ? load_n(p + at, lanes) : zero();
}
// s (1 - s), 1 - t^2
[[gnu::always_inline]] inline F32 sigmoid_slope(F32 s) { return s * (set(1.0f) - s); }
[[gnu::always_inline]] inline F32 tanh_slope(F32 t) { return fnma(t, t, set(1.0f)); }

inline void clear_units(float* p, int64_t gates, int64_t hidden, int64_t begin, int64_t end) {
  if (p == nullptr) return;
  for (int64_t g = 0; g < gates; ++g) {
    for (int64_t j = begin; j < end; ++j) p[g * hidden + j] = 0.0f;
  }
}
inline float* row_of(float* p, int64_t row, int64_t width) { return p != nullptr ? p + row * width : nullptr; }

void lstm_back(const RnnGradientArgs& a, const RnnBackStep& s, int64_t item, int64_t begin, int64_t end) {
  const int64_t n = a.hidden;
  const BackPlace place = back_place(a, s, item);
  float* dxw = a.dxw + place.row * 4 * n;
  float* d = s.d + item * 4 * n;
  float* h_prev = row_of(s.h_prev, place.row, n);
  float* products = row_of(s.products, place.row, 3 * n);
  if (!place.active) {
    clear_units(dxw, 4, n, begin, end);
    clear_units(d, 4, n, begin, end);
    clear_units(h_prev, 1, n, begin, end);
    clear_units(products, 3, n, begin, end);
    return;
  }
  const float* gates = a.gates + place.row * 4 * n;
  const float* cell = a.cells + place.row * n;
  const float* cell_before = before_step(a, place, a.cells, a.c0, item);
  const float* h_before = before_step(a, place, a.y, a.h0, item);
  const float* state = place.last ? (a.dh != nullptr ? a.dh + item * n : nullptr) : s.acc + item * n;
  const float* dy = a.dy != nullptr ? a.dy + place.row * n : nullptr;
  float* dc_state = s.dc + item * n;
  const float* p = a.peephole;
  for_lanes(end - begin, [&](int64_t at, int lanes) LOWP_INLINE {
    const int64_t j = begin + at;
    const F32 i = load_n(gates + j, lanes), o = load_n(gates + n + j, lanes), f = load_n(gates + 2 * n + j, lanes),
              g = load_n(gates + 3 * n + j, lanes);
    const F32 c = load_n(cell + j, lanes), c_prev = load_or_zero(cell_before, j, lanes);
    F32 dh = load_or_zero(state, j, lanes);
    if (dy != nullptr) dh = dh + load_n(dy + j, lanes);
    const F32 t = tanh(c);
    const F32 o_pre = (dh * t) * sigmoid_slope(o);
    F32 dc = fma(dh * o, tanh_slope(t), load_n(dc_state + j, lanes));
    if (p != nullptr) dc = fma(o_pre, load_n(p + n + j, lanes), dc);
    F32 di = dc * g, df = dc * c_prev;
    if (a.coupled) di = di - df, df = zero();
    const F32 i_pre = di * sigmoid_slope(i), f_pre = df * sigmoid_slope(f), g_pre = (dc * i) * tanh_slope(g);
    F32 next = dc * f;
    if (p != nullptr) {
      next = fma(i_pre, load_n(p + j, lanes), next);
      next = fma(f_pre, load_n(p + 2 * n + j, lanes), next);
    }
    store_n(dc_state + j, next, lanes);
    for (float* out : {dxw, d}) {
      store_n(out + j, i_pre, lanes);
      store_n(out + n + j, o_pre, lanes);
      store_n(out + 2 * n + j, f_pre, lanes);
      store_n(out + 3 * n + j, g_pre, lanes);
    }
    if (h_prev != nullptr) store_n(h_prev + j, load_or_zero(h_before, j, lanes), lanes);
    if (products != nullptr) {
      store_n(products + j, i_pre * c_prev, lanes);
      store_n(products + n + j, o_pre * c, lanes);
      store_n(products + 2 * n + j, f_pre * c_prev, lanes);
    }
  });
}

// What the three functions of GRU share.
struct GruItem {
  BackPlace place;
  const float* gates;
  const float* h_before;
  const float* acc;
  const float* last;  // gradient of the last h where this is the last step; may be null
  const float* dy;
  float* keep;
  float* dxw;
  float* d;
  GruItem(const RnnGradientArgs& a, const RnnBackStep& s, int64_t item) : place(back_place(a, s, item)) {
    const int64_t n = a.hidden;
    gates = a.gates + place.row * 4 * n;
    h_before = place.active ? before_step(a, place, a.y, a.h0, item) : nullptr;
    acc = s.acc + item * n;
    last = a.dh != nullptr ? a.dh + item * n : nullptr;
    dy = a.dy != nullptr ? a.dy + place.row * n : nullptr;
    keep = s.keep + item * n;
    dxw = a.dxw + place.row * 3 * n;
    d = s.d + item * 3 * n;
  }
  [[gnu::always_inline]] F32 dh(int64_t j, int lanes) const {
    F32 v = place.last ? load_or_zero(last, j, lanes) : load_n(acc + j, lanes) + load_n(keep + j, lanes);
    return dy != nullptr ? v + load_n(dy + j, lanes) : v;
  }
};

void gru_back(const RnnGradientArgs& a, const RnnBackStep& s, int64_t item, int64_t begin, int64_t end) {
  const int64_t n = a.hidden;
  const GruItem it(a, s, item);
  float* h_prev = row_of(s.h_prev, it.place.row, n);
  float* dq_row = s.dq + it.place.row * n;
  if (!it.place.active) {
    clear_units(it.dxw, 3, n, begin, end);
    clear_units(it.d, 3, n, begin, end);
    clear_units(h_prev, 1, n, begin, end);
    clear_units(dq_row, 1, n, begin, end);
    return;
  }
  for_lanes(end - begin, [&](int64_t at, int lanes) LOWP_INLINE {
    const int64_t j = begin + at;
    const F32 z = load_n(it.gates + j, lanes), r = load_n(it.gates + n + j, lanes),
              c = load_n(it.gates + 2 * n + j, lanes), q = load_n(it.gates + 3 * n + j, lanes);
    const F32 h = load_or_zero(it.h_before, j, lanes), dh = it.dh(j, lanes);
    const F32 n_pre = (dh * (set(1.0f) - z)) * tanh_slope(c);
    const F32 z_pre = (dh * (h - c)) * sigmoid_slope(z);
    const F32 r_pre = (n_pre * q) * sigmoid_slope(r), dq = n_pre * r;
    store_n(it.keep + j, dh * z, lanes);
    store_n(it.dxw + j, z_pre, lanes);
    store_n(it.dxw + n + j, r_pre, lanes);
    store_n(it.dxw + 2 * n + j, n_pre, lanes);
    store_n(it.d + j, z_pre, lanes);
    store_n(it.d + n + j, r_pre, lanes);
    store_n(it.d + 2 * n + j, dq, lanes);
    store_n(dq_row + j, dq, lanes);
    if (h_prev != nullptr) store_n(h_prev + j, h, lanes);
  });
}

void gru_back_first(const RnnGradientArgs& a, const RnnBackStep& s, int64_t item, int64_t begin, int64_t end) {
  const int64_t n = a.hidden;
  const GruItem it(a, s, item);
  float* h_prev = row_of(s.h_prev, it.place.row, n);
  if (!it.place.active) {
    clear_units(it.dxw, 3, n, begin, end);
    clear_units(it.d, 3, n, begin, end);
    clear_units(h_prev, 1, n, begin, end);
    return;
  }
  for_lanes(end - begin, [&](int64_t at, int lanes) LOWP_INLINE {
    const int64_t j = begin + at;
    const F32 z = load_n(it.gates + j, lanes), c = load_n(it.gates + 2 * n + j, lanes);
    const F32 h = load_or_zero(it.h_before, j, lanes), dh = it.dh(j, lanes);
    const F32 n_pre = (dh * (set(1.0f) - z)) * tanh_slope(c);
    const F32 z_pre = (dh * (h - c)) * sigmoid_slope(z);
    store_n(it.keep + j, dh * z, lanes);
    store_n(it.dxw + j, z_pre, lanes);
    store_n(it.dxw + 2 * n + j, n_pre, lanes);
    store_n(it.d + j, z_pre, lanes);
    store_n(it.d + 2 * n + j, n_pre, lanes);
    if (h_prev != nullptr) store_n(h_prev + j, h, lanes);
  });
}

void gru_back_second(const RnnGradientArgs& a, const RnnBackStep& s, int64_t item, int64_t begin, int64_t end) {
  const int64_t n = a.hidden;
  const GruItem it(a, s, item);
  if (!it.place.active) return;
  const float* dq = s.dq + item * n;
  for_lanes(end - begin, [&](int64_t at, int lanes) LOWP_INLINE {
    const int64_t j = begin + at;
    const F32 r = load_n(it.gates + n + j, lanes), v = load_n(dq + j, lanes);
    const F32 r_pre = (v * load_or_zero(it.h_before, j, lanes)) * sigmoid_slope(r);
    store_n(it.keep + j, fma(v, r, load_n(it.keep + j, lanes)), lanes);
    store_n(it.dxw + n + j, r_pre, lanes);
    store_n(it.d + n + j, r_pre, lanes);
  });
}

}  // namespace

extern const kernels::RnnGradientTable rnn_gradient_table;
const kernels::RnnGradientTable rnn_gradient_table = {lstm_back, gru_back, gru_back_first, gru_back_second};

}  // namespace lowp::LOWP_TARGET
