// f32 for depthwise_blocks.inl.h: as many channels at a time as a register holds, so that the sums of seven pixels, a
// kernel row of weights and a column fit AVX2's 16 registers.
#pragma once

#include "kernels/depthwise/depthwise.inl.h"
#include "kernels/gemm/epilogue.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

#if defined(__AVX512F__)
using FloatVec = __m512;
[[gnu::always_inline]] inline FloatVec load_floats(const float* p) { return _mm512_loadu_ps(p); }
[[gnu::always_inline]] inline void store_floats(float* p, FloatVec v) { _mm512_storeu_ps(p, v); }
[[gnu::always_inline]] inline FloatVec set_floats(float v) { return _mm512_set1_ps(v); }
[[gnu::always_inline]] inline FloatVec clamped(FloatVec v, FloatVec lo, FloatVec hi) {
  return _mm512_min_ps(hi, _mm512_max_ps(lo, v));
}
#else
using FloatVec = __m256;
[[gnu::always_inline]] inline FloatVec load_floats(const float* p) { return _mm256_loadu_ps(p); }
[[gnu::always_inline]] inline void store_floats(float* p, FloatVec v) { _mm256_storeu_ps(p, v); }
[[gnu::always_inline]] inline FloatVec set_floats(float v) { return _mm256_set1_ps(v); }
[[gnu::always_inline]] inline FloatVec clamped(FloatVec v, FloatVec lo, FloatVec hi) {
  return _mm256_min_ps(hi, _mm256_max_ps(lo, v));
}
#endif
constexpr int64_t kFloats = sizeof(FloatVec) / sizeof(float);

// Ends the life of weights: without it gcc 12 keeps them in registers and spills sums.
#define LOWP_LOAD_AGAIN __asm__ volatile("" ::: "memory")

// Where the block of kWidth channels that is to begin at `at` does: the last one ends with the channels and may overlap
// the one before.
template <int64_t kWidth>
[[gnu::always_inline]] inline int64_t block_start(int64_t at, int64_t channels) {
  return at + kWidth <= channels ? at : channels - kWidth;
}

// Where the input pixels of a tile are: channel(c) moves to a channel, row(kh), called with 0, 1, ..., to a row, of
// which load<j>() is column j. FloatAnywhere: through the pointers; beside padding.
class FloatAnywhere {
 public:
  FloatAnywhere(const DepthwiseTiles& t, int64_t columns) : lines_(t.lines), column_(columns) {}
  [[gnu::always_inline]] void channel(int64_t c) { byte_ = c * 4; }
  [[gnu::always_inline]] void row(int kh) { row_ = lines_[kh] + column_; }
  template <int j>
  [[gnu::always_inline]] FloatVec load() const {
    return load_floats(reinterpret_cast<const float*>(static_cast<const char*>(row_[j]) + byte_));
  }

 private:
  const void* const* const* lines_;
  const void* const* row_ = nullptr;
  int64_t column_, byte_ = 0;
};
// Vectors that are multiples of a step apart, by what addressing multiplies and three registers hold: left the choice,
// gcc 12 computes an address for each.
class Steps {
 public:
  explicit Steps(int64_t step) : step_(step), step3_(3 * step), step5_(5 * step), step7_(7 * step) {}
  template <int k>
  [[gnu::always_inline]] FloatVec load(const char* base) const {
    if constexpr (k == 0) {
      return load_floats(reinterpret_cast<const float*>(base));
    } else if constexpr (k >= 8) {
      return load<k - 8>(base + 8 * step_);
    } else {
      FloatVec v;
      __asm__ volatile("vmovups (%1,%2,%c3), %0" : "=v"(v) : "r"(base), "r"(index<k>()), "i"(scale(k)));
      return v;
    }
  }
  template <int k>
  [[gnu::always_inline]] void store(char* base, FloatVec v) const {
    if constexpr (k == 0)
      store_floats(reinterpret_cast<float*>(base), v);
    else if constexpr (k >= 8)
      store<k - 8>(base + 8 * step_, v);
    else
      __asm__ volatile("vmovups %2, (%0,%1,%c3)" : : "r"(base), "r"(index<k>()), "v"(v), "i"(scale(k)) : "memory");
  }

 private:
  static constexpr int scale(int k) { return k == 6 ? 2 : k % 2 != 0 ? 1 : k; }
  template <int k>
  [[gnu::always_inline]] int64_t index() const {
    constexpr int multiple = k / scale(k);
    return multiple == 1 ? step_ : multiple == 3 ? step3_ : multiple == 5 ? step5_ : step7_;
  }
  int64_t step_, step3_, step5_, step7_;
};
// FloatInside: by steps.
class FloatInside {
 public:
  FloatInside(const DepthwiseTiles& t, int64_t columns)
      : tile_(t.first + columns * t.step), pitch_(t.pitch), steps_(t.step) {}
  [[gnu::always_inline]] void channel(int64_t c) { row_ = tile_ + c * 4 - pitch_; }
  [[gnu::always_inline]] void row(int) { row_ += pitch_; }
  template <int j>
  [[gnu::always_inline]] FloatVec load() const {
    return steps_.load<j>(row_);
  }

 private:
  const char* tile_;
  const char* row_ = nullptr;
  int64_t pitch_;
  Steps steps_;
};

// Of a block of channels: weights of taps in order, then the bias.
template <int K>
constexpr int64_t kFloatBlockBytes = (K * K + 1) * static_cast<int64_t>(sizeof(FloatVec));

template <int K>
void prepare_f32(const DepthwiseShape& shape, const void* packed, void* prepared) {
  const float* weights = static_cast<const float*>(packed);
  const float* bias = shape.epilogue->bias;
  float* out = static_cast<float*>(prepared);
  for (int64_t b = 0; b < (shape.c + kFloats - 1) / kFloats; ++b) {
    const int64_t c = block_start<kFloats>(b * kFloats, shape.c);
    for (int tap = 0; tap < K * K; ++tap, out += kFloats) {
      store_floats(out, load_floats(weights + tap * shape.columns + c));
    }
    store_floats(out, bias != nullptr ? load_floats(bias + c) + set_floats(0.0f) : set_floats(0.0f));  // -0 as 0
    out += kFloats;
  }
}

// Calls body.operator()<j>() for j = 0 .. N - 1.
template <int N, int j = 0, typename Body>
[[gnu::always_inline]] inline void for_columns(Body&& body) {
  if constexpr (j < N) {
    body.template operator()<j>();
    for_columns<N, j + 1>(body);
  }
}

// In acc's own register, not to be moved about (gemm.inl.h: fma_into).
[[gnu::always_inline]] inline void floats_fma_into(FloatVec& acc, FloatVec a, FloatVec b) {
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
}

// Sums of P pixels and a block of channels.
template <int P, int K, int S, typename Columns>
[[gnu::always_inline]] inline void block_sums(Columns& x, const char* weights, FloatVec (&acc)[P]) {
  LOWP_UNROLL for (int i = 0; i < P; ++i) acc[i] = set_floats(0.0f);
  LOWP_UNROLL for (int kh = 0; kh < K; ++kh) {
    FloatVec w[K];
    LOWP_UNROLL for (int kw = 0; kw < K; ++kw) {
      w[kw] = load_floats(reinterpret_cast<const float*>(weights) + (kh * K + kw) * kFloats);
    }
    x.row(kh);
    for_columns<(P - 1) * S + K>([&]<int j>() __attribute__((always_inline)) {
      const FloatVec column = x.template load<j>();
      // Pixel i sees column j as its tap j - i * S; columns ascend, so each sum takes its taps in order.
      LOWP_UNROLL for (int i = 0; i < P; ++i) {
        if (j < i * S || j - i * S >= K) continue;
        floats_fma_into(acc[i], column, w[j - i * S]);
      }
    });
    LOWP_LOAD_AGAIN;
  }
}

template <int P, int K, int S, typename Columns>
void tile_f32_blocks(const DepthwiseTiles& t) {
  const kernels::OutputRange range = t.shape->range;
  const bool finishes = t.acc == nullptr;
  const int64_t ld = (finishes ? t.out_ld : t.acc_ld) * 4, first = t.c0, total = t.shape->c;
  const Steps outs(ld);
  for (int64_t tile = 0; tile < t.count; ++tile) {
    char* out = (finishes ? t.out : static_cast<char*>(t.acc)) + tile * P * ld - first * 4;
    const char* weights = static_cast<const char*>(t.weights) + first / kFloats * kFloatBlockBytes<K>;
    Columns x(t, tile * P * S);
    for (int64_t at = first; at < first + t.channels; at += kFloats, weights += kFloatBlockBytes<K>) {
      const int64_t c = block_start<kFloats>(at, total);
      FloatVec acc[P];
      x.channel(c);
      block_sums<P, K, S>(x, weights, acc);
      if (finishes) {
        const FloatVec b = load_floats(reinterpret_cast<const float*>(weights) + K * K * kFloats);
        const FloatVec lo = set_floats(range.lower), hi = set_floats(range.upper);
        LOWP_UNROLL for (int p = 0; p < P; ++p) acc[p] = clamped(acc[p] + b, lo, hi);
      }
      for_columns<P>([&]<int p>() __attribute__((always_inline)) { outs.template store<p>(out + c * 4, acc[p]); });
    }
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
