// The conv family's own loops over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/conv/table.h"
#include "kernels/conv/winograd.inl.h"
#include "kernels/conv/winograd_int8.inl.h"
#include "simd/stored.h"
#include "simd/words.h"

namespace lowp::LOWP_TARGET {
namespace {

constexpr int64_t kSumBlock = 256;

template <typename S>
const typename S::T* as(const void* p) {
  return static_cast<const typename S::T*>(p);
}
inline int up_to_16(int64_t n) { return n < 16 ? static_cast<int>(n) : 16; }

// Rows of a panel of f32.
struct FloatRows {
  float* panel;
  void put(int64_t k, F32 row) const { store(panel + k * 16, row); }
};
// Rows of bf16 values as halves of pairs. `in_order`: the even row of each pair comes first, and is what clears it.
template <bool in_order>
struct PairRows {
  int32_t* panel;
  void put(int64_t k, F32 row) const {
    int32_t* pairs = panel + k / 2 * 16;
    const I32 bits = bitcast_int(row), half = k % 2 == 0 ? shift_right_logical<16>(bits) : bits;
    store_int(pairs, in_order && k % 2 == 0 ? half : load_int(pairs) | half);
  }
};

template <typename S, typename Rows>
void pack_filters_of(const typename S::T* w, int filters, int64_t c, int64_t taps, int64_t first, int64_t last,
                     Rows rows) {
  const int64_t k = c * taps;
  for (int64_t i = first; i < last; i += 16) {
    const int n = up_to_16(last - i);
    float block[256], turned[256];
    for (int j = 0; j < 16; ++j) store(block + j * 16, j < filters ? S::load(w + j * k + i, n) : zero());
    transpose_16x16(block, 16, turned);
    int64_t channel = i / taps, tap = i % taps;
    for (int r = 0; r < n; ++r) {
      rows.put(tap * c + channel, load(turned + r * 16));
      if (++tap == taps) tap = 0, ++channel;
    }
  }
}
void pack_filters(DType dtype, const void* w, int filters, int64_t c, int64_t taps, int64_t first, int64_t last,
                  float* dst) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    pack_filters_of<S>(as<S>(w), filters, c, taps, first, last, FloatRows{dst});
  });
}
void pair_filters(const void* w, int filters, int64_t c, int64_t taps, int64_t first, int64_t last, void* dst) {
  auto* panel = static_cast<int32_t*>(dst);
  if (c % 2 == 0)
    pack_filters_of<StoredBF16>(as<StoredBF16>(w), filters, c, taps, first, last, PairRows<true>{panel});
  else
    pack_filters_of<StoredBF16>(as<StoredBF16>(w), filters, c, taps, first, last, PairRows<false>{panel});
}

// Taps whose channels are converted together, in 4 KB of the stack.
constexpr int64_t kConvertedTaps = 64;

template <typename S, typename Rows>
void pack_flipped_of(const typename S::T* w, int64_t filter_ld, int64_t first_filter, int64_t filters,
                     int64_t filters_in_all, int channels, int64_t taps, const int32_t* chosen, int64_t chosen_count,
                     Rows rows) {
  float converted[16 * kConvertedTaps], row[16];
  w += first_filter * filter_ld;
  for (int64_t o = first_filter; o < first_filter + filters; ++o, w += filter_ld) {
    if (taps == 1) {
      rows.put(o, channels == 16 ? S::load(w, 16) : S::load(w, channels));
      continue;
    }
    if (taps <= kConvertedTaps && channels == 16) {
      const float* from = converted;
      if constexpr (sizeof(typename S::T) == sizeof(float)) {
        from = w;
      } else {
        for (int64_t i = 0; i < taps; ++i) store(converted + i * 16, S::load(w + i * 16, 16));
      }
      for (int64_t t = 0; t < chosen_count; ++t) {
        for (int j = 0; j < 16; ++j) row[j] = from[j * taps + chosen[t]];
        rows.put(t * filters_in_all + o, load(row));
      }
      continue;
    }
    for (int64_t t = 0; t < chosen_count; ++t) {
      for (int j = 0; j < 16; ++j) row[j] = j < channels ? LOWP_TARGET::first(S::load(w + j * taps + chosen[t], 1)) : 0;
      rows.put(t * filters_in_all + o, load(row));
    }
  }
}
void pack_flipped(DType dtype, const void* w, int64_t filter_ld, int64_t first_filter, int64_t filters,
                  int64_t filters_in_all, int channels, int64_t taps, const int32_t* chosen, int64_t chosen_count,
                  float* dst) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    pack_flipped_of<S>(as<S>(w), filter_ld, first_filter, filters, filters_in_all, channels, taps, chosen, chosen_count,
                       FloatRows{dst});
  });
}
void pair_flipped(const void* w, int64_t filter_ld, int64_t first_filter, int64_t filters, int64_t filters_in_all,
                  int channels, int64_t taps, const int32_t* chosen, int64_t chosen_count, void* dst) {
  auto pack = [&](auto rows) {
    pack_flipped_of<StoredBF16>(as<StoredBF16>(w), filter_ld, first_filter, filters, filters_in_all, channels, taps,
                                chosen, chosen_count, rows);
  };
  auto* panel = static_cast<int32_t*>(dst);
  filters_in_all % 2 == 0 ? pack(PairRows<true>{panel}) : pack(PairRows<false>{panel});
}

void pack_columns(DType dtype, const void* const* rows, int64_t count, int64_t first, int lanes, int at, float* dst) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    if (lanes == 16) {
      for (int64_t i = 0; i < count; ++i) store(dst + i * 16, S::load(as<S>(rows[i]) + first, 16));
      return;
    }
    for (int64_t i = 0; i < count; ++i) store_n(dst + i * 16 + at, S::load(as<S>(rows[i]) + first, lanes), lanes);
  });
}

void pack_overlapping(DType dtype, const void* const* rows, int64_t count, int64_t first, int at, float* dst) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    if (at == 0) {
      for (int64_t i = 0; i < count; ++i) store(dst + i * 16, S::load(as<S>(rows[i]) + first, 16));
      return;
    }
    const Mask kept = first_lanes(at);
    for (int64_t i = 0; i < count; ++i)
      store(dst + i * 16, select(kept, load(dst + i * 16), S::load(as<S>(rows[i]) + first - at, 16)));
  });
}

// The rows of a pair, of which the second is zero after the last row.
template <typename Body>
[[gnu::always_inline]] inline void for_pairs(const void* const* rows, int64_t count, int64_t first, int lanes,
                                             Body&& body) {
  auto row = [&](int64_t i) LOWP_INLINE { return static_cast<const uint16_t*>(rows[i]) + first; };
  int64_t i = 0;
  for (; i + 2 <= count; i += 2) body(i * 8, pair_words(row(i), row(i + 1), lanes));
  if (i < count) body(i * 8, load_u16_n(row(i), lanes));
}

void pair_columns(const void* const* rows, int64_t count, int64_t first, int lanes, int at, void* dst) {
  auto* pairs = static_cast<int32_t*>(dst);
  if (lanes == 16)
    return for_pairs(rows, count, first, 16, [&](int64_t i, I32 pair) LOWP_INLINE { store_int(pairs + i, pair); });
  for_pairs(rows, count, first, lanes,
            [&](int64_t i, I32 pair) LOWP_INLINE { store_int_n(pairs + i + at, pair, lanes); });
}

void pair_overlapping(const void* const* rows, int64_t count, int64_t first, int at, void* dst) {
  auto* pairs = static_cast<int32_t*>(dst);
  const Mask kept = first_lanes(at);
  for_pairs(rows, count, first - at, 16, [&](int64_t i, I32 pair) LOWP_INLINE {
    store_int(pairs + i, at == 0 ? pair : select(kept, load_int(pairs + i), pair));
  });
}

void column_sums(DType dtype, const void* x, int64_t ld, int64_t count, int channels, bool begins, float* sums) {
  for_storage(dtype, [&](auto s) {
    using S = decltype(s);
    for (int64_t block = 0; block < count; block += kSumBlock) {
      const int64_t stop = block + kSumBlock < count ? block + kSumBlock : count;
      F32 p = zero();
      for (int64_t i = block; i < stop; ++i) p = p + S::load(as<S>(x) + i * ld, channels);
      store_n(sums, begins && block == 0 ? p : load_n(sums, channels) + p, channels);
    }
  });
}

void depthwise_input(DType dy_dtype, DType dx_dtype, const void* const* dy, const int32_t* tap, int64_t taps,
                     const float* w, int64_t w_ld, int64_t channels, void* dx) {
  for_storage(dy_dtype, [&](auto s) {
    using S = decltype(s);
    for_storage(dx_dtype, [&](auto d) {
      using D = decltype(d);
      for_lanes(channels, [&](int64_t c, int lanes) LOWP_INLINE {
        F32 p = zero();
        for (int64_t t = 0; t < taps; ++t)
          p = fma(S::load(as<S>(dy[t]) + c, lanes), load_n(w + tap[t] * w_ld + c, lanes), p);
        D::store(static_cast<typename D::T*>(dx) + c, p, lanes);
      });
    });
  });
}

// kVectors at once, as one sum is one chain of dependent additions.
template <int kVectors, typename X, typename Y>
[[gnu::always_inline]] inline void depthwise_weight_of(const void* const* x, const void* const* dy, int64_t count,
                                                       int64_t first, int lanes, bool begins, float* total) {
  F32 p[kVectors];
  for (int v = 0; v < kVectors; ++v) p[v] = zero();
  for (int64_t i = 0; i < count; ++i) {
    for (int v = 0; v < kVectors; ++v)
      p[v] = fma(X::load(as<X>(x[i]) + first + v * 16, lanes), Y::load(as<Y>(dy[i]) + first + v * 16, lanes), p[v]);
  }
  for (int v = 0; v < kVectors; ++v) {
    float* t = total + v * 16;
    store_n(t, begins ? p[v] : load_n(t, lanes) + p[v], lanes);
  }
}
void depthwise_weight(DType x_dtype, DType dy_dtype, const void* const* x, const void* const* dy, int64_t count,
                      int64_t first, int64_t channels, bool begins, float* total) {
  for_storage(x_dtype, [&](auto xs) {
    using X = decltype(xs);
    for_storage(dy_dtype, [&](auto ys) {
      using Y = decltype(ys);
      constexpr int kVectors = 4;
      int64_t c = 0;
      for (; c + kVectors * 16 <= channels; c += kVectors * 16)
        depthwise_weight_of<kVectors, X, Y>(x, dy, count, first + c, 16, begins, total + c);
      for (; c < channels; c += 16)
        depthwise_weight_of<1, X, Y>(x, dy, count, first + c, up_to_16(channels - c), begins, total + c);
    });
  });
}

}  // namespace

extern const kernels::ConvTable conv_table;
const kernels::ConvTable conv_table = {
    .pack_filters = pack_filters,
    .pair_filters = pair_filters,
    .pack_flipped = pack_flipped,
    .pair_flipped = pair_flipped,
    .pack_columns = pack_columns,
    .pack_overlapping = pack_overlapping,
    .pair_columns = pair_columns,
    .pair_overlapping = pair_overlapping,
    .column_sums = column_sums,
    .depthwise_input = depthwise_input,
    .depthwise_weight = depthwise_weight,
    .winograd_input = winograd_input,
    .winograd_output = winograd_output,
    .winograd_filters = winograd_filters,
    .winograd_output_gradient = winograd_output_gradient,
    .winograd_filter_gradient = winograd_filter_gradient,
    .winograd_u8_input = winograd_u8_input,
    .winograd_s8_filters = winograd_s8_filters,
    .winograd_s32_output = winograd_s32_output,
};

}  // namespace lowp::LOWP_TARGET
