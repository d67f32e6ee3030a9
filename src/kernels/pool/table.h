// What a target's translation unit of the pool family offers.
#pragma once

#include "kernels/pool/pool.h"

namespace lowp::kernels {

// The taps of one output position that lie inside the image: rows h[0..h_count) apart by h_step elements, likewise
// columns.
struct Window {
  const void* first = nullptr;  // the first tap inside
  int64_t rows = 0, columns = 0;
  int64_t row_step = 0, column_step = 0;  // elements
  int64_t channels = 0;
};

struct PoolTable {
  void (*max_float)(DType dtype, const Window& window, void* y);
  void (*max_u8)(const Window& window, uint8_t* y);
  void (*max_s8)(const Window& window, int8_t* y);
  void (*average_float)(DType dtype, const Window& window, float count, void* y);
  void (*average_q8)(const Window& window, float count, const PoolQuantization& quantization, void* y);
  // Adds dy to the greatest tap of each channel: the taps of `sums` lie as those of the window, but for their steps.
  void (*max_gradient)(DType dtype, const Window& window, const void* dy, float* sums, int64_t row_step,
                       int64_t column_step);
  void (*round)(DType dtype, const float* sums, int64_t count, void* dx);
  // dx = the sum in order of rows[i] / counts[i].
  void (*average_gradient)(DType dtype, const void* const* rows, const float* counts, int64_t count, int64_t channels,
                           void* dx);
};

}  // namespace lowp::kernels
