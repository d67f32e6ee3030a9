// The reduce family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/reduce/table.h"
#include "simd/math.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::Reduce;

constexpr int64_t kColumnBlock = 256;

// A reduction: the identity, one element more, two partial results, and what becomes of the result.
struct Sum {
  static F32 identity() { return zero(); }
  static F32 step(F32 acc, F32 x) { return acc + x; }
  static F32 combine(F32 a, F32 b) { return a + b; }
};
struct SumSquare : Sum {
  static F32 step(F32 acc, F32 x) { return fma(x, x, acc); }
};
struct SumAbs : Sum {
  static F32 step(F32 acc, F32 x) { return acc + abs(x); }
};
struct Product {
  static F32 identity() { return set(1.0f); }
  static F32 step(F32 acc, F32 x) { return acc * x; }
  static F32 combine(F32 a, F32 b) { return a * b; }
};
struct Greatest {
  static F32 identity() { return set(-__builtin_inff()); }
  static F32 step(F32 acc, F32 x) { return max_nan(acc, x); }
  static F32 combine(F32 a, F32 b) { return max_nan(a, b); }
};
struct Least {
  static F32 identity() { return set(__builtin_inff()); }
  static F32 step(F32 acc, F32 x) { return min_nan(acc, x); }
  static F32 combine(F32 a, F32 b) { return min_nan(a, b); }
};

// value(x) is applied to each element first: exp(x - m) for log-sum-exp.
template <typename Op, typename Value>
[[gnu::always_inline]] inline float row_result(const float* x, int64_t n, Value value) {
  F32 acc = Op::identity();
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 next = Op::step(acc, value(load_n(x + i, lanes)));
    acc = lanes == kLanes ? next : select(first_lanes(lanes), next, acc);
  });
  return reduce(acc, [](F32 a, F32 b) { return Op::combine(a, b); });
}

template <typename Op, typename Value>
[[gnu::always_inline]] inline F32 column_result(const float* x, int64_t n, int64_t inner, int lanes, Value value) {
  F32 total = Op::identity();
  for (int64_t block = 0; block < n; block += kColumnBlock) {
    int64_t stop = block + kColumnBlock < n ? block + kColumnBlock : n;
    F32 acc = Op::identity();
    for (int64_t i = block; i < stop; ++i) acc = Op::step(acc, value(load_n(x + i * inner, lanes)));
    total = block == 0 ? acc : Op::combine(total, acc);
  }
  return total;
}

inline F32 identity_value(F32 x) { return x; }
// The maximum to subtract: 0 where it is infinite or NaN, so that the sum decides.
inline F32 finite_or_zero(F32 m) { return select(abs(m) < set(__builtin_inff()), m, zero()); }

inline F32 finish(Reduce op, F32 v, int64_t n) {
  switch (op) {
    case Reduce::kMean: return v / set(static_cast<float>(n));
    case Reduce::kL2: return sqrt(v);
    case Reduce::kLogSum: return log(v);
    default: return v;
  }
}

template <typename Op>
void reduce_rows(Reduce op, const float* x, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r) y[r] = first(finish(op, set(row_result<Op>(x + r * n, n, identity_value)), n));
}

void log_sum_exp_rows(const float* x, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r, x += n) {
    F32 m = finite_or_zero(set(row_result<Greatest>(x, n, identity_value)));
    y[r] = first(m + log(set(row_result<Sum>(x, n, [&](F32 v) LOWP_INLINE { return exp(v - m); }))));
  }
}

// Rows are read in runs of 4 KB, four at a time, so that memory is read as it lies and the sums, which L1 holds, are
// fetched once for four rows: a bias gradient of 512 x 3072 is bound by memory, where 16 columns at a time were not.
constexpr int64_t kColumnsAtOnce = 1024;

template <typename Op>
void reduce_columns(Reduce op, const float* x, float* y, int64_t n, int64_t inner, int64_t begin, int64_t end) {
  float sums[kColumnsAtOnce];
  for (int64_t c = begin; c < end; c += kColumnsAtOnce) {
    const int64_t count = end - c < kColumnsAtOnce ? end - c : kColumnsAtOnce;
    for (int64_t block = 0; block == 0 || block < n; block += kColumnBlock) {
      const int64_t stop = block + kColumnBlock < n ? block + kColumnBlock : n;
      for_lanes(count, [&](int64_t j, int lanes) LOWP_INLINE { store_n(sums + j, Op::identity(), lanes); });
      int64_t i = block;
      for (; i + 4 <= stop; i += 4) {
        const float* p = x + i * inner + c;
        for_lanes(count, [&](int64_t j, int lanes) LOWP_INLINE {
          F32 acc = load_n(sums + j, lanes);
          acc = Op::step(acc, load_n(p + j, lanes));
          acc = Op::step(acc, load_n(p + inner + j, lanes));
          acc = Op::step(acc, load_n(p + 2 * inner + j, lanes));
          acc = Op::step(acc, load_n(p + 3 * inner + j, lanes));
          store_n(sums + j, acc, lanes);
        });
      }
      for (; i < stop; ++i) {
        const float* p = x + i * inner + c;
        for_lanes(count, [&](int64_t j, int lanes) LOWP_INLINE {
          store_n(sums + j, Op::step(load_n(sums + j, lanes), load_n(p + j, lanes)), lanes);
        });
      }
      for_lanes(count, [&](int64_t j, int lanes) LOWP_INLINE {
        const F32 acc = load_n(sums + j, lanes);
        store_n(y + c + j, block == 0 ? acc : Op::combine(load_n(y + c + j, lanes), acc), lanes);
      });
    }
    for_lanes(count, [&](int64_t j, int lanes)
                         LOWP_INLINE { store_n(y + c + j, finish(op, load_n(y + c + j, lanes), n), lanes); });
  }
}

void log_sum_exp_columns(const float* x, float* y, int64_t n, int64_t inner, int64_t begin, int64_t end) {
  for_lanes(end - begin, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 m = finite_or_zero(column_result<Greatest>(x + begin + i, n, inner, lanes, identity_value));
    F32 sum = column_result<Sum>(x + begin + i, n, inner, lanes, [&](F32 v) LOWP_INLINE { return exp(v - m); });
    store_n(y + begin + i, m + log(sum), lanes);
  });
}

void rows(Reduce op, const float* x, float* y, int64_t count, int64_t n) {
  switch (op) {
    case Reduce::kSum:
    case Reduce::kMean:
    case Reduce::kLogSum: return reduce_rows<Sum>(op, x, y, count, n);
    case Reduce::kMax: return reduce_rows<Greatest>(op, x, y, count, n);
    case Reduce::kMin: return reduce_rows<Least>(op, x, y, count, n);
    case Reduce::kProd: return reduce_rows<Product>(op, x, y, count, n);
    case Reduce::kSumSquare:
    case Reduce::kL2: return reduce_rows<SumSquare>(op, x, y, count, n);
    case Reduce::kL1: return reduce_rows<SumAbs>(op, x, y, count, n);
    case Reduce::kLogSumExp: return log_sum_exp_rows(x, y, count, n);
    case Reduce::kCount: break;
  }
}

void columns(Reduce op, const float* x, float* y, int64_t n, int64_t inner, int64_t begin, int64_t end) {
  switch (op) {
    case Reduce::kSum:
    case Reduce::kMean:
    case Reduce::kLogSum: return reduce_columns<Sum>(op, x, y, n, inner, begin, end);
    case Reduce::kMax: return reduce_columns<Greatest>(op, x, y, n, inner, begin, end);
    case Reduce::kMin: return reduce_columns<Least>(op, x, y, n, inner, begin, end);
    case Reduce::kProd: return reduce_columns<Product>(op, x, y, n, inner, begin, end);
    case Reduce::kSumSquare:
    case Reduce::kL2: return reduce_columns<SumSquare>(op, x, y, n, inner, begin, end);
    case Reduce::kL1: return reduce_columns<SumAbs>(op, x, y, n, inner, begin, end);
    case Reduce::kLogSumExp: return log_sum_exp_columns(x, y, n, inner, begin, end);
    case Reduce::kCount: break;
  }
}

}  // namespace

extern const kernels::ReduceTable reduce_table;
const kernels::ReduceTable reduce_table = {rows, columns};

}  // namespace lowp::LOWP_TARGET
