// Gates over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/rnn/table.h"
#include "simd/math.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::RnnArgs;
using kernels::RnnStep;

// Where an item is in this step: its row of xw and y, or null where its sequence has ended.
struct Place {
  const float* xw;
  float* y;
  float* gates;  // kept, or null
  float* cells;
  bool active;
};
inline Place place_of(const RnnArgs& a, const RnnStep& s, int64_t item) {
  const int64_t length = a.lengths != nullptr ? a.lengths[item] : a.steps;
  const bool active = s.step < length;
  const int64_t t = active && a.reverse ? length - 1 - s.step : s.step;
  const int64_t row = t * a.batch + item;
  return {a.xw + row * kernels::rnn_gates(a.kind) * a.hidden, a.y != nullptr ? a.y + row * a.hidden : nullptr,
          a.gates != nullptr ? a.gates + row * 4 * a.hidden : nullptr,
          a.cells != nullptr ? a.cells + row * a.hidden : nullptr, active};
}

inline void clear(float* y, int64_t begin, int64_t end) {
  if (y == nullptr) return;
  for (int64_t i = begin; i < end; ++i) y[i] = 0.0f;
}
// A row behind an item's end.
inline void clear(const Place& p, int64_t hidden, int64_t begin, int64_t end) {
  clear(p.y, begin, end);
  clear(p.cells, begin, end);
  for (int64_t g = 0; g < 4; ++g) clear(p.gates, g * hidden + begin, g * hidden + end);
}
// Gate values that the gradient needs.
[[gnu::always_inline]] inline void keep_gate(const Place& p, int64_t at, F32 v, int lanes) {
  if (p.gates != nullptr) store_n(p.gates + at, v, lanes);
}

// INT8 states take the short fits (rnn.h).
struct ExactGates {
  [[gnu::always_inline]] static F32 sigmoid(F32 x) { return LOWP_TARGET::sigmoid(x); }
  [[gnu::always_inline]] static F32 tanh(F32 x) { return LOWP_TARGET::tanh(x); }
};
struct CoarseGates {
  [[gnu::always_inline]] static F32 sigmoid(F32 x) { return sigmoid_coarse(x); }
  [[gnu::always_inline]] static F32 tanh(F32 x) { return tanh_coarse(x); }
};

struct Clip {
  F32 low, high;
  bool on;
  explicit Clip(float limit) : low(set(-limit)), high(set(limit)), on(limit > 0) {}
  [[gnu::always_inline]] F32 operator()(F32 x) const { return on ? min(high, max(low, x)) : x; }
};

struct Quantizer {
  F32 inverse, low, high;
  I32 zero_point;
  explicit Quantizer(const RnnArgs& a)
      : inverse(set(a.h_inv_scale)),
        low(set(static_cast<float>(-a.h_zero))),
        high(set(static_cast<float>(a.h_max - a.h_zero))),
        zero_point(set_int(a.h_zero)) {}
  [[gnu::always_inline]] void operator()(uint8_t* q, F32 h, int lanes) const {
    store_u8_n(q, to_int(round_even(min(high, max(low, h * inverse)))) + zero_point, lanes);
  }
};

// xw + acc of gate `gate`, lanes at unit i.
[[gnu::always_inline]] inline F32 sum_at(const float* xw, const float* acc, int64_t at, int lanes) {
  F32 x = load_n(xw + at, lanes);
  return acc != nullptr ? x + load_n(acc + at, lanes) : x;
}

template <typename Gates>
void lstm(const RnnArgs& a, const RnnStep& s, int64_t item, int64_t begin, int64_t end) {
  const int64_t n = a.hidden;
  const Place place = place_of(a, s, item);
  if (!place.active) return clear(place, n, begin, end);
  const float* acc = s.acc != nullptr ? s.acc + item * 4 * n : nullptr;
  float* h = s.h + item * n;
  float* c = s.c + item * n;
  uint8_t* q = s.q != nullptr ? s.q + item * n : nullptr;
  const float* p = a.peephole;
  const Clip clip(a.clip);
  const Quantizer quantize(a);
  for_lanes(end - begin, [&](int64_t at, int lanes) LOWP_INLINE {
    const int64_t j = begin + at;
    const F32 cell = load_n(c + j, lanes);
    F32 i = sum_at(place.xw, acc, j, lanes);
    F32 f = sum_at(place.xw, acc, 2 * n + j, lanes);
    F32 o = sum_at(place.xw, acc, n + j, lanes);
    if (p != nullptr) {
      i = fma(load_n(p + j, lanes), cell, i);
      f = fma(load_n(p + 2 * n + j, lanes), cell, f);
    }
    i = Gates::sigmoid(clip(i));
    f = a.coupled ? set(1.0f) - i : Gates::sigmoid(clip(f));
    const F32 candidate = Gates::tanh(clip(sum_at(place.xw, acc, 3 * n + j, lanes)));
    const F32 next = fma(f, cell, i * candidate);
    if (p != nullptr) o = fma(load_n(p + n + j, lanes), next, o);
    o = Gates::sigmoid(clip(o));
    const F32 out = o * Gates::tanh(clip(next));
    keep_gate(place, j, i, lanes);
    keep_gate(place, n + j, o, lanes);
    keep_gate(place, 2 * n + j, f, lanes);
    keep_gate(place, 3 * n + j, candidate, lanes);
    if (place.cells != nullptr) store_n(place.cells + j, next, lanes);
    store_n(c + j, next, lanes);
    store_n(h + j, out, lanes);
    if (place.y != nullptr) store_n(place.y + j, out, lanes);
    if (q != nullptr) quantize(q + j, out, lanes);
  });
}

template <typename Gates>
void gru(const RnnArgs& a, const RnnStep& s, int64_t item, int64_t begin, int64_t end) {
  const int64_t n = a.hidden;
  const Place place = place_of(a, s, item);
  if (!place.active) return clear(place, n, begin, end);
  const float* acc = s.acc != nullptr ? s.acc + item * 3 * n : nullptr;
  float* h = s.h + item * n;
  uint8_t* q = s.q != nullptr ? s.q + item * n : nullptr;
  const Clip clip(a.clip);
  const Quantizer quantize(a);
  for_lanes(end - begin, [&](int64_t at, int lanes) LOWP_INLINE {
    const int64_t j = begin + at;
    const F32 z = Gates::sigmoid(clip(sum_at(place.xw, acc, j, lanes)));
    const F32 r = Gates::sigmoid(clip(sum_at(place.xw, acc, n + j, lanes)));
    F32 inner = acc != nullptr ? load_n(acc + 2 * n + j, lanes) : zero();
    if (a.hidden_bias != nullptr) inner = inner + load_n(a.hidden_bias + j, lanes);
    const F32 candidate = Gates::tanh(clip(fma(r, inner, load_n(place.xw + 2 * n + j, lanes))));
    keep_gate(place, j, z, lanes);
    keep_gate(place, n + j, r, lanes);
    keep_gate(place, 2 * n + j, candidate, lanes);
    keep_gate(place, 3 * n + j, inner, lanes);
    const F32 out = fma(z, load_n(h + j, lanes) - candidate, candidate);
    store_n(h + j, out, lanes);
    if (place.y != nullptr) store_n(place.y + j, out, lanes);
    if (q != nullptr) quantize(q + j, out, lanes);
  });
}

template <typename Gates>
void gru_gates(const RnnArgs& a, const RnnStep& s, int64_t item, int64_t begin, int64_t end) {
  const int64_t n = a.hidden;
  const Place place = place_of(a, s, item);
  if (!place.active) return;
  const float* acc = s.acc != nullptr ? s.acc + item * 2 * n : nullptr;
  const float* h = s.h + item * n;
  float* z = s.z + item * n;
  float* rh = s.rh + item * n;
  uint8_t* q = s.q != nullptr ? s.q + item * n : nullptr;
  const Clip clip(a.clip);
  const Quantizer quantize(a);
  for_lanes(end - begin, [&](int64_t at, int lanes) LOWP_INLINE {
    const int64_t j = begin + at;
    const F32 update = Gates::sigmoid(clip(sum_at(place.xw, acc, j, lanes)));
    store_n(z + j, update, lanes);
    const F32 gate = Gates::sigmoid(clip(sum_at(place.xw, acc, n + j, lanes)));
    const F32 reset = gate * load_n(h + j, lanes);
    keep_gate(place, j, update, lanes);
    keep_gate(place, n + j, gate, lanes);
    keep_gate(place, 3 * n + j, reset, lanes);
    store_n(rh + j, reset, lanes);
    if (q != nullptr) quantize(q + j, reset, lanes);
  });
}

template <typename Gates>
void gru_finish(const RnnArgs& a, const RnnStep& s, int64_t item, int64_t begin, int64_t end) {
  const int64_t n = a.hidden;
  const Place place = place_of(a, s, item);
  if (!place.active) return clear(place, n, begin, end);
  const float* acc = s.acc != nullptr ? s.acc + item * n : nullptr;
  const float* z = s.z + item * n;
  float* h = s.h + item * n;
  uint8_t* q = s.q != nullptr ? s.q + item * n : nullptr;
  const Clip clip(a.clip);
  const Quantizer quantize(a);
  for_lanes(end - begin, [&](int64_t at, int lanes) LOWP_INLINE {
    const int64_t j = begin + at;
    const F32 candidate = Gates::tanh(clip(sum_at(place.xw + 2 * n, acc, j, lanes)));
    keep_gate(place, 2 * n + j, candidate, lanes);
    const F32 out = fma(load_n(z + j, lanes), load_n(h + j, lanes) - candidate, candidate);
    store_n(h + j, out, lanes);
    if (place.y != nullptr) store_n(place.y + j, out, lanes);
    if (q != nullptr) quantize(q + j, out, lanes);
  });
}

void quantize_state(const RnnArgs& a, const RnnStep& s, int64_t item, int64_t begin, int64_t end) {
  const Quantizer quantize(a);
  const float* h = s.h + item * a.hidden;
  uint8_t* q = s.q + item * a.hidden;
  for_lanes(end - begin,
            [&](int64_t at, int lanes) LOWP_INLINE { quantize(q + begin + at, load_n(h + begin + at, lanes), lanes); });
}

template <typename Gates>
constexpr kernels::RnnUnits kUnits = {lstm<Gates>, gru<Gates>, gru_gates<Gates>, gru_finish<Gates>};

}  // namespace

extern const kernels::RnnTable rnn_table;
const kernels::RnnTable rnn_table = {kUnits<ExactGates>, kUnits<CoarseGates>, quantize_state};

}  // namespace lowp::LOWP_TARGET
