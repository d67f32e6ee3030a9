// Tiles that turn their sums into outputs in registers, by epilogue.h's formulas: with K = 64 the sums' way to memory
// and back takes a sixth of the time that the products take.
#pragma once

#include "kernels/gemm/requantize.inl.h"

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

// f32, or u8 x s8, to f32.
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
template <typename In, bool kResidual, typename Acc, int MR>
[[gnu::always_inline]] inline void finish_rows(const TileOutput& t, const Acc (&sums)[MR][2], int64_t column) {
  const In in[2] = {In(*t.e, t.n0 + column), In(*t.e, t.n0 + column + 16)};
  const F32 lower = set(t.range.lower), upper = set(t.range.upper);
  float* out = static_cast<float*>(t.out) + column;
  const float* residual = static_cast<const float*>(t.residual) + (kResidual ? column : 0);
  const int64_t out_step = t.out_step, residual_step = t.residual_step;
  for_finished_rows<12>(
      sums, [&](const Acc(&sum)[2]) __attribute__((always_inline)) {
        LOWP_UNROLL for (int p = 0; p < 2; ++p) {
          F32 y = in[p](sum[p]);
          if (kResidual) y = y + load(residual + 16 * p);
          store(out + 16 * p, min(upper, max(lower, y)));
        }
        out += out_step;
        if (kResidual) residual += residual_step;
      });
}

template <int MR>
[[gnu::always_inline]] inline void finish_tile(const TileOutput& t, const F32 (&sums)[MR][2], int64_t column) {
  t.residual != nullptr ? finish_rows<FloatSums, true>(t, sums, column)
                        : finish_rows<FloatSums, false>(t, sums, column);
}
template <int MR>
[[gnu::always_inline]] inline void finish_tile(const TileOutput& t, const I32 (&sums)[MR][2], int64_t column) {
  if (t.e->out == DType::kU8) {
    if (t.range.high < 255)
      t.residual != nullptr ? requantize_rows<true, true>(t, sums, column)
                            : requantize_rows<false, true>(t, sums, column);
    else
      t.residual != nullptr ? requantize_rows<true, false>(t, sums, column)
                            : requantize_rows<false, false>(t, sums, column);
  } else {
    t.residual != nullptr ? finish_rows<IntSums, true>(t, sums, column) : finish_rows<IntSums, false>(t, sums, column);
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
