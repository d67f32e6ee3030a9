// What a target's translation unit of the batch_norm family offers.
#pragma once

#include "kernels/batch_norm/batch_norm.h"

namespace lowp::kernels {

// Two rows of sums of a block: [channels] each.
struct BlockSums {
  float* first;   // mean, or sum of g
  float* second;  // sum of squares, or of products
};

struct BatchNormTable {
  // Rows [begin, end) of one block, channels [c0, c1).
  void (*moments)(const BatchNormArgs& args, int64_t begin, int64_t end, int64_t c0, int64_t c1, BlockSums sums);
  // Joins `blocks` blocks' moments, block b's at sums + b * channels, for channels [c0, c1).
  void (*join)(const BatchNormArgs& args, int64_t blocks, BlockSums sums, int64_t c0, int64_t c1);
  void (*normalize)(const BatchNormArgs& args, int64_t begin, int64_t end);  // rows
  void (*gradient_sums)(const BatchNormGradientArgs& args, int64_t begin, int64_t end, int64_t c0, int64_t c1,
                        BlockSums sums);
  // Adds the blocks up; writes dbias and dscale, and over the first block's sums what each row takes off: s / rows and
  // the c of batch_norm.h.
  void (*add)(const BatchNormGradientArgs& args, int64_t blocks, BlockSums sums, int64_t c0, int64_t c1);
  void (*gradient)(const BatchNormGradientArgs& args, BlockSums shares, int64_t begin, int64_t end);  // rows
  void (*inverse_std)(const float* variance, float eps, int64_t channels, float* inv_std);
};

}  // namespace lowp::kernels
