// The elementwise family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/elementwise/table.h"
#include "kernels/quantize/lanes.inl.h"
#include "simd/math.h"
#include "simd/pow.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::Binary;
using kernels::BinaryRun;
using kernels::Unary;
using kernels::UnaryParams;

#define LOWP_UNARY(name, formula)                                                             \
  void unary_##name([[maybe_unused]] UnaryParams p, const float* in, float* out, int64_t n) { \
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {                                      \
      F32 x = load_n(in + i, lanes);                                                          \
      store_n(out + i, formula, lanes);                                                       \
    });                                                                                       \
  }
#include "kernels/elementwise/kernels.inc"

void unary(Unary op, UnaryParams params, const float* x, float* y, int64_t n) {
  switch (op) {
// clang-format off
#define LOWP_UNARY(name, formula) \
  case Unary::k##name: return unary_##name(params, x, y, n);
#include "kernels/elementwise/kernels.inc"
    // clang-format on
    case Unary::kCount: break;
  }
}

template <typename Op>
[[gnu::always_inline]] inline void binary_rows(const BinaryRun& run, const float* a, const float* b, float* y, Op op) {
  for (int64_t r = 0; r < run.rows; ++r, a += run.a_row, b += run.b_row, y += run.y_row) {
    if (run.a_step && run.b_step) {
      for_lanes(run.n, [&](int64_t i, int lanes)
                           LOWP_INLINE { store_n(y + i, op(load_n(a + i, lanes), load_n(b + i, lanes)), lanes); });
    } else if (run.a_step) {
      F32 vb = set(*b);
      for_lanes(run.n, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, op(load_n(a + i, lanes), vb), lanes); });
    } else if (run.b_step) {
      F32 va = set(*a);
      for_lanes(run.n, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, op(va, load_n(b + i, lanes)), lanes); });
    } else {
      F32 v = op(set(*a), set(*b));
      for_lanes(run.n, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, v, lanes); });
    }
  }
}

#define LOWP_BINARY(name, formula)                                                       \
  void binary_##name(const BinaryRun& run, const float* pa, const float* pb, float* y) { \
    binary_rows(run, pa, pb, y, [](F32 a, F32 b) LOWP_INLINE { return formula; });       \
  }
#include "kernels/elementwise/kernels.inc"

void binary(Binary op, const BinaryRun& run, const float* a, const float* b, float* y) {
  // Squaring by Pow is common (normalizations exported op by op).
  if (op == Binary::kPow && !run.b_step && run.b_row == 0 && *b == 2.0f) {
    for (int64_t r = 0; r < run.rows; ++r, a += run.a_row, y += run.y_row) {
      if (run.a_step) {
        unary_Square({}, a, y, run.n);
      } else {
        for (int64_t i = 0; i < run.n; ++i) y[i] = *a * *a;
      }
    }
    return;
  }
  switch (op) {
// clang-format off
#define LOWP_BINARY(name, formula) \
  case Binary::k##name: return binary_##name(run, a, b, y);
#include "kernels/elementwise/kernels.inc"
    // clang-format on
    case Binary::kCount: break;
  }
}

template <bool kSigned, bool kMul>
void binary_q8_rows(const kernels::QuantizedBinaryArgs& q, const BinaryRun& run, const uint8_t* a, const uint8_t* b,
                    uint8_t* y) {
  F32 a_scale = set(q.a_scale), b_scale = set(q.b_scale), y_scale = set(q.y_scale), lo = set(q.lo), hi = set(q.hi);
  I32 a_zero = set_int(q.a_zero), b_zero = set_int(q.b_zero);
  const Quantizer<kSigned> quantize(q.y_zero, {});
  auto value = [](const uint8_t* p, int step, int64_t i, int lanes) LOWP_INLINE {
    return step ? load_q8<kSigned>(p, i, lanes) : set_int(kSigned ? static_cast<int8_t>(*p) : *p);
  };
  for (int64_t r = 0; r < run.rows; ++r, a += run.a_row, b += run.b_row, y += run.y_row) {
    for_lanes(run.n, [&](int64_t i, int lanes) LOWP_INLINE {
      F32 va = to_float(value(a, run.a_step, i, lanes) - a_zero) * a_scale;
      F32 vb = to_float(value(b, run.b_step, i, lanes) - b_zero) * b_scale;
      F32 v = min(hi, max(lo, kMul ? va * vb : va + vb));
      store_q8<kSigned>(y, i, quantize(v, y_scale), lanes);
    });
  }
}

void binary_q8(const kernels::QuantizedBinaryArgs& q, const BinaryRun& run, const uint8_t* a, const uint8_t* b,
               uint8_t* y) {
  bool is_signed = q.dtype == DType::kI8;
  if (q.op == Binary::kMul) {
    (is_signed ? binary_q8_rows<true, true> : binary_q8_rows<false, true>)(q, run, a, b, y);
  } else {
    (is_signed ? binary_q8_rows<true, false> : binary_q8_rows<false, false>)(q, run, a, b, y);
  }
}

void scale_shift_run(const float* x, float scale, const float* shift, float* y, int64_t n) {
  F32 s = set(scale), b = set(shift ? *shift : 0.0f);
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 v = load_n(x + i, lanes);
    store_n(y + i, shift ? fma(v, s, b) : v * s, lanes);
  });
}

void scale_shift_each(const float* x, const float* scale, const float* shift, float* y, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 v = load_n(x + i, lanes), s = load_n(scale + i, lanes);
    store_n(y + i, shift ? fma(v, s, load_n(shift + i, lanes)) : v * s, lanes);
  });
}

}  // namespace

extern const kernels::ElementwiseTable elementwise_table;
const kernels::ElementwiseTable elementwise_table = {unary, binary, binary_q8, scale_shift_run, scale_shift_each};

}  // namespace lowp::LOWP_TARGET
