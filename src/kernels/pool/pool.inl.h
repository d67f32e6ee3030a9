// The pool family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/pool/table.h"
#include "kernels/quantize/lanes.inl.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::Window;

constexpr int64_t kTapBlock = 256;

template <typename T, typename Body>
[[gnu::always_inline]] inline void for_taps(const Window& w, Body&& body) {
  for (int64_t i = 0; i < w.rows; ++i) {
    const T* p = static_cast<const T*>(w.first) + i * w.row_step;
    for (int64_t j = 0; j < w.columns; ++j, p += w.column_step) body(p);
  }
}

void max_f32(const Window& w, float* y) {
  for_lanes(w.channels, [&](int64_t c, int lanes) LOWP_INLINE {
    F32 acc = set(-__builtin_inff());
    for_taps<float>(w, [&](const float* p) LOWP_INLINE { acc = max_nan(acc, load_n(p + c, lanes)); });
    store_n(y + c, acc, lanes);
  });
}

// Groups of 64 bytes in a local array, which the compiler keeps in registers with byte-wise maxima.
template <typename T>
inline void max_q8(const Window& w, T* y) {
  constexpr int kGroup = 64;
  const int64_t channels = w.channels;
  for (int64_t c = 0; c < channels; c += kGroup) {
    T acc[kGroup];
    for (int i = 0; i < kGroup; ++i) acc[i] = static_cast<T>(-1) < 0 ? -128 : 0;
    if (c + kGroup <= channels) {
      for_taps<T>(w, [&](const T* p) LOWP_INLINE {
        for (int i = 0; i < kGroup; ++i) acc[i] = acc[i] > p[c + i] ? acc[i] : p[c + i];
      });
      for (int i = 0; i < kGroup; ++i) y[c + i] = acc[i];
    } else {
      const int rest = static_cast<int>(channels - c);
      for_taps<T>(w, [&](const T* p) LOWP_INLINE {
        for (int i = 0; i < rest; ++i) acc[i] = acc[i] > p[c + i] ? acc[i] : p[c + i];
      });
      for (int i = 0; i < rest; ++i) y[c + i] = acc[i];
    }
  }
}
void max_u8(const Window& w, uint8_t* y) { max_q8<uint8_t>(w, y); }
void max_s8(const Window& w, int8_t* y) { max_q8<int8_t>(w, y); }

void average_f32(const Window& w, float count, float* y) {
  F32 divisor = set(count);
  for_lanes(w.channels, [&](int64_t c, int lanes) LOWP_INLINE {
    F32 total = zero(), acc = zero();
    int64_t taps = 0;
    bool first_block = true;
    for_taps<float>(w, [&](const float* p) LOWP_INLINE {
      if (taps == kTapBlock) {
        total = first_block ? acc : total + acc;
        first_block = false;
        acc = zero();
        taps = 0;
      }
      acc = acc + load_n(p + c, lanes);
      ++taps;
    });
    total = first_block ? acc : total + acc;
    store_n(y + c, total / divisor, lanes);
  });
}

template <bool kSigned>
void average_q8_typed(const Window& w, float count, const kernels::PoolQuantization& q, void* y) {
  F32 divisor = set(count), x_scale = set(q.x_scale), y_scale = set(q.y_scale);
  I32 x_zero = set_int(q.x_zero);
  const Quantizer<kSigned> quantize(q.y_zero, {});
  for_lanes(w.channels, [&](int64_t c, int lanes) LOWP_INLINE {
    I32 acc = set_int(0);
    for_taps<uint8_t>(w, [&](const uint8_t* p) LOWP_INLINE { acc = acc + (load_q8<kSigned>(p, c, lanes) - x_zero); });
    F32 v = to_float(acc) * x_scale / divisor;
    store_q8<kSigned>(y, c, quantize(v, y_scale), lanes);
  });
}
void average_q8(const Window& w, float count, const kernels::PoolQuantization& q, void* y) {
  (q.dtype == DType::kI8 ? average_q8_typed<true> : average_q8_typed<false>)(w, count, q, y);
}

}  // namespace

extern const kernels::PoolTable pool_table;
const kernels::PoolTable pool_table = {max_f32, max_u8, max_s8, average_f32, average_q8};

}  // namespace lowp::LOWP_TARGET
