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
  void (*max_f32)(const Window& window, float* y);
  void (*max_u8)(const Window& window, uint8_t* y);
  void (*max_s8)(const Window& window, int8_t* y);
  void (*average_f32)(const Window& window, float count, float* y);
  void (*average_q8)(const Window& window, float count, const PoolQuantization& quantization, void* y);
};

}  // namespace lowp::kernels
