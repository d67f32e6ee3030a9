// Reductions of f32 over the middle of [outer, n, inner], contiguous; y is [outer, inner].
//
// Sums (docs/numerics.md): inner == 1: 16 virtual lanes start at the identity, element i goes to lane i % 16 in order,
// lanes are combined as (l, l+8), (l, l+4), (l, l+2), (l, l+1). inner > 1: each column in order, in blocks of 256 with
// a fresh accumulator each, partial results combined in block order.
#pragma once

#include <cstdint>

namespace lowp::kernels {

enum class Reduce : uint8_t {
  kSum,
  kMean,  // sum / n
  kMax,   // NaN if any is; -inf for n = 0
  kMin,   // NaN if any is; +inf for n = 0
  kProd,
  kSumSquare,  // fma(x, x, acc)
  kL1,         // sum |x|
  kL2,         // sqrt(sum of squares)
  kLogSum,     // log(sum)
  kLogSumExp,  // m + log(sum exp(x - m)), m the maximum, or 0 where that is infinite
  kCount
};

void reduce_f32(Reduce op, const float* x, float* y, int64_t outer, int64_t n, int64_t inner, int threads);

// Index of the first greatest (least) element along n, [outer, inner]; NaN counts as the extreme. last: the last one.
void arg_reduce_f32(bool greatest, bool last, const float* x, int64_t* y, int64_t outer, int64_t n, int64_t inner,
                    int threads);

}  // namespace lowp::kernels
