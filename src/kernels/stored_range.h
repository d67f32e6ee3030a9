// The part of an 8-bit type's range that quantized results use.
#pragma once

#include <cstdint>

namespace lowp::kernels {

// Results are limited to [low, high] as they are stored, zero point included. Ends beyond the type's count as the
// type's. Seven-bit activations (Int8Class in gemm/pack.h) are {0, 127}.
struct StoredRange {
  int32_t low = -128, high = 255;
  int32_t least(bool is_signed) const { return is_signed ? low : low < 0 ? 0 : low; }
  int32_t most(bool is_signed) const { return is_signed && high > 127 ? 127 : high; }
};

}  // namespace lowp::kernels
