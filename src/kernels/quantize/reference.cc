#include "kernels/quantize/reference.h"

#include <cmath>

namespace lowp::kernels::reference {

int32_t quantize(float x, float scale, int32_t zero_point, int32_t qmin, int32_t qmax) {
  double t = std::nearbyint(static_cast<double>(x / scale)) + zero_point;
  if (std::isnan(t)) return zero_point;
  return static_cast<int32_t>(t < qmin ? qmin : t > qmax ? qmax : t);
}

int32_t quantize(DType dtype, float x, float scale, int32_t zero_point, StoredRange range) {
  bool is_signed = dtype == DType::kI8;
  return quantize(x, scale, zero_point, range.least(is_signed), range.most(is_signed));
}

void quantize_f32(const QuantizeArgs& a, const float* x, void* y) {
  for (int64_t i = 0; i < a.outer * a.channels * a.inner; ++i) {
    int64_t c = i / a.inner % a.channels;
    int32_t q = quantize(a.dtype, x[i], a.scale[c], a.zero_point ? a.zero_point[c] : 0, a.range);
    static_cast<uint8_t*>(y)[i] = static_cast<uint8_t>(q);
  }
}

void dequantize_f32(const QuantizeArgs& a, const void* x, float* y) {
  for (int64_t i = 0; i < a.outer * a.channels * a.inner; ++i) {
    int64_t c = i / a.inner % a.channels;
    int32_t q = a.dtype == DType::kI8 ? static_cast<const int8_t*>(x)[i] : static_cast<const uint8_t*>(x)[i];
    y[i] = static_cast<float>(q - (a.zero_point ? a.zero_point[c] : 0)) * a.scale[c];
  }
}

}  // namespace lowp::kernels::reference
