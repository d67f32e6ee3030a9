// The pool family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/pool/table.h"
#include "kernels/quantize/lanes.inl.h"
#include "simd/stored.h"

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

template <typename S>
const typename S::T* as(const void* p) {
  return static_cast<const typename S::T*>(p);
}

void max_float(DType dtype, const Window& w, void* y) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    using T = typename S::T;
    for_lanes(w.channels, [&](int64_t c, int lanes) LOWP_INLINE {
      F32 acc = set(-__builtin_inff());
      for_taps<T>(w, [&](const T* p) LOWP_INLINE { acc = max_nan(acc, S::load(p + c, lanes)); });
      S::store(static_cast<T*>(y) + c, acc, lanes);
    });
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

template <typename S>
void average_of(const Window& w, float count, typename S::T* y) {
  using T = typename S::T;
  F32 divisor = set(count);
  for_lanes(w.channels, [&](int64_t c, int lanes) LOWP_INLINE {
    F32 total = zero(), acc = zero();
    int64_t taps = 0;
    bool first_block = true;
    for_taps<T>(w, [&](const T* p) LOWP_INLINE {
      if (taps == kTapBlock) {
        total = first_block ? acc : total + acc;
        first_block = false;
        acc = zero();
        taps = 0;
      }
      acc = acc + S::load(p + c, lanes);
      ++taps;
    });
    total = first_block ? acc : total + acc;
    S::store(y + c, total / divisor, lanes);
  });
}
void average_float(DType dtype, const Window& w, float count, void* y) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    average_of<S>(w, count, static_cast<typename S::T*>(y));
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

template <typename S>
void max_gradient_of(const Window& w, const typename S::T* dy, float* sums, int64_t row_step, int64_t column_step) {
  using T = typename S::T;
  for_lanes(w.channels, [&](int64_t c, int lanes) LOWP_INLINE {
    F32 best = set(-__builtin_inff());
    I32 where = set_int(0);
    int32_t tap = 0;
    for_taps<T>(w, [&](const T* p) LOWP_INLINE {
      const F32 v = S::load(p + c, lanes);
      const Mask better = (v > best) | (is_nan(v) & (best == best));
      best = select(better, v, best);
      where = select(better, set_int(tap), where);
      ++tap;
    });
    const F32 d = S::load(dy + c, lanes);
    tap = 0;
    for (int64_t i = 0; i < w.rows; ++i) {
      float* at = sums + i * row_step + c;
      for (int64_t j = 0; j < w.columns; ++j, ++tap, at += column_step) {
        const F32 old = load_n(at, lanes);
        store_n(at, select(equal(where, set_int(tap)), old + d, old), lanes);
      }
    }
  });
}
void max_gradient(DType dtype, const Window& w, const void* dy, float* sums, int64_t row_step, int64_t column_step) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    max_gradient_of<S>(w, as<S>(dy), sums, row_step, column_step);
  });
}

void round(DType dtype, const float* sums, int64_t count, void* dx) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    for_lanes(count, [&](int64_t i, int lanes) LOWP_INLINE {
      S::store(static_cast<typename S::T*>(dx) + i, load_n(sums + i, lanes), lanes);
    });
  });
}

void average_gradient(DType dtype, const void* const* rows, const float* counts, int64_t count, int64_t channels,
                      void* dx) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    for_lanes(channels, [&](int64_t c, int lanes) LOWP_INLINE {
      F32 sum = zero();
      for (int64_t i = 0; i < count; ++i) sum = sum + S::load(as<S>(rows[i]) + c, lanes) / set(counts[i]);
      S::store(static_cast<typename S::T*>(dx) + c, sum, lanes);
    });
  });
}

}  // namespace

extern const kernels::PoolTable pool_table;
const kernels::PoolTable pool_table = {max_float,  max_u8,       max_s8, average_float,
                                       average_q8, max_gradient, round,  average_gradient};

}  // namespace lowp::LOWP_TARGET
