// Tiles that turn their sums into outputs in registers, by epilogue.h's formulas: with K = 64 the sums' way to memory
// and back takes a sixth of the time that the products take.
#pragma once

#include "kernels/gemm/requantize.inl.h"
#include "simd/math.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::TileOutput;

// row(sums) for each row of a tile of two panels. What follows from the outputs' channels needs registers, which
// sums of kHeld rows leave free; the rows beyond wait in memory. (gcc 12, left to choose, spills in the loop over K.)
template <int kHeld, int MR, typename Acc, typename Row>
[[gnu::always_inline]] inline void for_finished_rows(const Acc (&sums)[MR][2], Row&& row) {
  constexpr int kWaiting = MR > kHeld ? MR - kHeld : 0;
  Acc waiting[kWaiting + 1][2];
  LOWP_UNROLL for (int i = 0; i < kWaiting; ++i) {
    LOWP_UNROLL for (int p = 0; p < 2; ++p) waiting[i][p] = sums[kHeld + i][p];
  }
  if constexpr (kWaiting != 0) __asm__ volatile("" ::"r"(waiting) : "memory");
  LOWP_UNROLL for (int i = 0; i < MR - kWaiting; ++i) row(sums[i]);
  LOWP_UNROLL for (int i = 0; i < kWaiting; ++i) row(waiting[i]);
}

// u8 x s8 to u8, where steps of the output fit s32 (steps_fit in plan.cc). kHigh: the range ends below 255, which
// packing saturates to by itself.
template <bool kResidual, bool kHigh, int MR>
[[gnu::always_inline]] inline void requantize_rows(const TileOutput& t, const I32 (&sums)[MR][2], int64_t column) {
  const Epilogue& e = *t.e;
  const RequantIn<false> in[2] = {RequantIn<false>(e, t.n0 + column, 16), RequantIn<false>(e, t.n0 + column + 16, 16)};
  const int zero_point = e.out_zero, low = t.range.low, high = t.range.high;
  uint8_t* out = static_cast<uint8_t*>(t.out) + column;
  const uint8_t* residual = static_cast<const uint8_t*>(t.residual) + (kResidual ? column : 0);
  const int64_t out_step = t.out_step, residual_step = t.residual_step;
  for_finished_rows<kResidual ? 10 : 11>(
      sums, [&](const I32(&sum)[2]) __attribute__((always_inline)) {
        F32 y[2];
        LOWP_UNROLL for (int p = 0; p < 2; ++p) {
          y[p] = kResidual ? in[p].steps_with(sum[p], load_u8(residual + 16 * p)) : in[p].steps(sum[p]);
        }
        store_pair<false, kHigh>(out, to_int(y[0]), to_int(y[1]), zero_point, low, high);
        out += out_step;
        if (kResidual) residual += residual_step;
      });
}

// u8 x s8 to u8 by way of gelu_coarse. MiniLM's layers of K = 384 take 0.98 of the time that they take with an epilogue
// (Zen 4).
template <int MR>
[[gnu::always_inline]] inline void gelu_rows(const TileOutput& t, const I32 (&sums)[MR][2], int64_t column) {
  const Epilogue& e = *t.e;
  F32 scale[2], steps[2];
  for (int p = 0; p < 2; ++p) {
    const int64_t n = t.n0 + column + 16 * p;
    scale[p] = load(e.scale + n);
    steps[p] = e.out_inv_scales != nullptr ? load(e.out_inv_scales + n) : set(e.out_inv_scale);
  }
  const F32 upper = set(t.range.upper);
  const int zero_point = e.out_zero, low = t.range.low;
  uint8_t* out = static_cast<uint8_t*>(t.out) + column;
  const int64_t out_step = t.out_step;
  for_finished_rows<6>(
      sums, [&](const I32(&sum)[2]) __attribute__((always_inline)) {
        I32 y[2];
        LOWP_UNROLL for (int p = 0; p < 2; ++p) y[p] =
            to_int(min(upper, gelu_coarse(to_float(sum[p]) * scale[p]) * steps[p]));
        store_pair<false>(out, y[0], y[1], zero_point, low);
        out += out_step;
      });
}

// Float sums, or those of u8 x s8, to f32 or bf16.
struct FloatSums {
  F32 bias;
  FloatSums(const Epilogue& e, int64_t n) : bias(e.bias == nullptr ? zero() : load(e.bias + n) + zero()) {}
  [[gnu::always_inline]] F32 operator()(F32 sum) const { return sum + bias; }
};
struct IntSums {
  F32 scale;
  IntSums(const Epilogue& e, int64_t n) : scale(load(e.scale + n)) {}
  [[gnu::always_inline]] F32 operator()(I32 sum) const { return to_float(sum) * scale; }
};
struct F32Rows {
  using T = float;
  [[gnu::always_inline]] static F32 residual(const T* p) { return load(p); }
  [[gnu::always_inline]] static void put(T* p, F32 y0, F32 y1) { store(p, y0), store(p + 16, y1); }
};
struct BF16Rows {
  using T = uint16_t;
  [[gnu::always_inline]] static F32 residual(const T* p) { return load_bf16(p); }
  [[gnu::always_inline]] static void put(T* p, F32 y0, F32 y1) { store_bf16_pair(p, y0, y1); }
};
template <typename In, typename Rows, bool kResidual, typename Acc, int MR>
[[gnu::always_inline]] inline void finish_rows(const TileOutput& t, const Acc (&sums)[MR][2], int64_t column) {
  using T = typename Rows::T;
  const In in[2] = {In(*t.e, t.n0 + column), In(*t.e, t.n0 + column + 16)};
  const F32 lower = set(t.range.lower), upper = set(t.range.upper);
  T* out = static_cast<T*>(t.out) + column;
  const T* residual = static_cast<const T*>(t.residual) + (kResidual ? column : 0);
  const int64_t out_step = t.out_step, residual_step = t.residual_step;
  for_finished_rows<sizeof(T) == 4 ? 12 : 10>(
      sums, [&](const Acc(&sum)[2]) __attribute__((always_inline)) {
        F32 y[2];
        LOWP_UNROLL for (int p = 0; p < 2; ++p) {
          y[p] = in[p](sum[p]);
          if (kResidual) y[p] = y[p] + Rows::residual(residual + 16 * p);
          y[p] = min(upper, max(lower, y[p]));
        }
        Rows::put(out, y[0], y[1]);
        out += out_step;
        if (kResidual) residual += residual_step;
      });
}

// kTo: the type of outputs other than f32.
template <DType kTo, int MR>
[[gnu::always_inline]] inline void finish_tile(const TileOutput& t, const F32 (&sums)[MR][2], int64_t column) {
  if constexpr (kTo == DType::kBF16) {
    if (t.e->out == DType::kBF16)
      return t.residual != nullptr ? finish_rows<FloatSums, BF16Rows, true>(t, sums, column)
                                   : finish_rows<FloatSums, BF16Rows, false>(t, sums, column);
  }
  t.residual != nullptr ? finish_rows<FloatSums, F32Rows, true>(t, sums, column)
                        : finish_rows<FloatSums, F32Rows, false>(t, sums, column);
}
template <DType kTo, int MR>
[[gnu::always_inline]] inline void finish_tile(const TileOutput& t, const I32 (&sums)[MR][2], int64_t column) {
  if (t.e->activation == kernels::Activation::kGeluCoarse) {
    gelu_rows(t, sums, column);
  } else if (t.e->out == DType::kU8) {
    if (t.range.high < 255)
      t.residual != nullptr ? requantize_rows<true, true>(t, sums, column)
                            : requantize_rows<false, true>(t, sums, column);
    else
      t.residual != nullptr ? requantize_rows<true, false>(t, sums, column)
                            : requantize_rows<false, false>(t, sums, column);
  } else {
    t.residual != nullptr ? finish_rows<IntSums, F32Rows, true>(t, sums, column)
                          : finish_rows<IntSums, F32Rows, false>(t, sums, column);
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
