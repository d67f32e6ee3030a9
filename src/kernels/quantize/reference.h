// The contract of quantize.h, naively, for tests.
#pragma once

#include "kernels/quantize/quantize.h"

namespace lowp::kernels::reference {

// One value; qmin and qmax are the range of the 8-bit type.
int32_t quantize(float x, float scale, int32_t zero_point, int32_t qmin, int32_t qmax);
int32_t quantize(DType dtype, float x, float scale, int32_t zero_point, StoredRange range = {});
void quantize_f32(const QuantizeArgs& args, const float* x, void* y);
void dequantize_f32(const QuantizeArgs& args, const void* x, float* y);

}  // namespace lowp::kernels::reference
