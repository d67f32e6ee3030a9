// What a target's translation unit of the quantize family offers.
#pragma once

#include <cstdint>

#include "kernels/quantize/quantize.h"

namespace lowp::kernels {

struct QuantizeTable {
  // A run of n with one scale and zero point.
  void (*quantize_run)(bool is_signed, float scale, int32_t zero_point, StoredRange range, const float* x, void* y,
                       int64_t n);
  void (*dequantize_run)(bool is_signed, float scale, int32_t zero_point, const void* x, float* y, int64_t n);
  void (*dequantize_run_s32)(float scale, int32_t zero_point, const int32_t* x, float* y, int64_t n);
  // A run of n with a scale each; zero_point may be null.
  void (*quantize_each)(bool is_signed, const float* scale, const int32_t* zero_point, StoredRange range,
                        const float* x, void* y, int64_t n);
  void (*dequantize_each)(bool is_signed, const float* scale, const int32_t* zero_point, const void* x, float* y,
                          int64_t n);
  void (*dequantize_each_s32)(const float* scale, const int32_t* zero_point, const int32_t* x, float* y, int64_t n);
  void (*f32_to_bf16)(const float* x, uint16_t* y, int64_t n);
  void (*bf16_to_f32)(const uint16_t* x, float* y, int64_t n);
  void (*f32_to_f16)(const float* x, uint16_t* y, int64_t n);
  void (*f16_to_f32)(const uint16_t* x, float* y, int64_t n);
  void (*min_max)(const float* x, int64_t n, float* lo, float* hi);
};

}  // namespace lowp::kernels
