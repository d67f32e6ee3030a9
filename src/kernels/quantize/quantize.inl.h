// The quantize family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/quantize/lanes.inl.h"
#include "kernels/quantize/table.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::StoredRange;

template <bool kSigned>
void quantize_run(float scale, int32_t zero_point, StoredRange range, const float* x, void* y, int64_t n) {
  F32 s = set(scale);
  const Quantizer<kSigned> quantize(zero_point, range);
  for_lanes(
      n, [&](int64_t i, int lanes) LOWP_INLINE { store_q8<kSigned>(y, i, quantize(load_n(x + i, lanes), s), lanes); });
}

template <bool kSigned>
void dequantize_run(float scale, int32_t zero_point, const void* x, float* y, int64_t n) {
  F32 s = set(scale);
  I32 z = set_int(zero_point);
  for_lanes(n, [&](int64_t i, int lanes)
                   LOWP_INLINE { store_n(y + i, to_float(load_q8<kSigned>(x, i, lanes) - z) * s, lanes); });
}

void dequantize_run_s32(float scale, int32_t zero_point, const int32_t* x, float* y, int64_t n) {
  F32 s = set(scale);
  I32 z = set_int(zero_point);
  for_lanes(
      n, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, to_float(load_int_n(x + i, lanes) - z) * s, lanes); });
}

inline I32 zero_points(const int32_t* zero_point, int64_t i, int lanes) {
  return zero_point ? load_int_n(zero_point + i, lanes) : set_int(0);
}

template <bool kSigned>
void quantize_each(const float* scale, const int32_t* zero_point, StoredRange range, const float* x, void* y,
                   int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    const Quantizer<kSigned> quantize(zero_points(zero_point, i, lanes), range);
    store_q8<kSigned>(y, i, quantize(load_n(x + i, lanes), load_n(scale + i, lanes)), lanes);
  });
}

template <bool kSigned>
void dequantize_each(const float* scale, const int32_t* zero_point, const void* x, float* y, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 v = to_float(load_q8<kSigned>(x, i, lanes) - zero_points(zero_point, i, lanes));
    store_n(y + i, v * load_n(scale + i, lanes), lanes);
  });
}

void dequantize_each_s32(const float* scale, const int32_t* zero_point, const int32_t* x, float* y, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 v = to_float(load_int_n(x + i, lanes) - zero_points(zero_point, i, lanes));
    store_n(y + i, v * load_n(scale + i, lanes), lanes);
  });
}

void f32_to_bf16(const float* x, uint16_t* y, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { store_bf16_n(y + i, load_n(x + i, lanes), lanes); });
}
void bf16_to_f32(const uint16_t* x, float* y, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, load_bf16_n(x + i, lanes), lanes); });
}
void f32_to_f16(const float* x, uint16_t* y, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { store_f16_n(y + i, load_n(x + i, lanes), lanes); });
}
void f16_to_f32(const uint16_t* x, float* y, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, load_f16_n(x + i, lanes), lanes); });
}

void min_max(const float* x, int64_t n, float* lo, float* hi) {
  // min(x, lo) is lo where x is NaN.
  F32 least = set(__builtin_inff()), greatest = set(-__builtin_inff());
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 v = select(first_lanes(lanes), load_n(x + i, lanes), set(__builtin_nanf("")));
    least = min(v, least);
    greatest = max(v, greatest);
  });
  *lo = reduce_min(least);
  *hi = reduce_max(greatest);
}

void quantize_run_any(bool is_signed, float scale, int32_t zero_point, StoredRange range, const float* x, void* y,
                      int64_t n) {
  (is_signed ? quantize_run<true> : quantize_run<false>)(scale, zero_point, range, x, y, n);
}
void dequantize_run_any(bool is_signed, float scale, int32_t zero_point, const void* x, float* y, int64_t n) {
  (is_signed ? dequantize_run<true> : dequantize_run<false>)(scale, zero_point, x, y, n);
}
void quantize_each_any(bool is_signed, const float* scale, const int32_t* zero_point, StoredRange range, const float* x,
                       void* y, int64_t n) {
  (is_signed ? quantize_each<true> : quantize_each<false>)(scale, zero_point, range, x, y, n);
}
void dequantize_each_any(bool is_signed, const float* scale, const int32_t* zero_point, const void* x, float* y,
                         int64_t n) {
  (is_signed ? dequantize_each<true> : dequantize_each<false>)(scale, zero_point, x, y, n);
}

}  // namespace

extern const kernels::QuantizeTable quantize_table;
const kernels::QuantizeTable quantize_table = {
    quantize_run_any,
    dequantize_run_any,
    dequantize_run_s32,
    quantize_each_any,
    dequantize_each_any,
    dequantize_each_s32,
    f32_to_bf16,
    bf16_to_f32,
    f32_to_f16,
    f16_to_f32,
    min_max,
};

}  // namespace lowp::LOWP_TARGET
