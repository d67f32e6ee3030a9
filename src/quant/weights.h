// Symmetric INT8 weights with a scale for each output channel.
#pragma once

#include <functional>
#include <span>

#include "ir/tensor.h"

namespace lowp::quant {

struct QuantizedWeights {
  ir::Tensor values;  // s8 in -127..127, shape of the source
  ir::Tensor scales;  // f32 [channels]
};

// Channels lie along `axis` of the f32 tensor `w`. The scale is the one of the largest magnitude, or a smaller one
// where clipping costs less squared error than coarser steps. Where given, no channel's scale is below its
// least_scales: the weights of a channel that training switched off may be so small that its bias does not fit 32 bit
// otherwise.
QuantizedWeights quantize_weights(const ir::Tensor& w, int axis, std::span<const float> least_scales = {});

// A7-quad (kernels/gemm/pack.h): moves the few weights whose same-sign sums of four could overflow 16 bit towards zero,
// all of a four by the same, which is the least change in the mean square. `w` holds s8 weights; `index` gives for each
// channel and each k in the packed order the index into w. Returns by how many steps in all.
int64_t project_quads(ir::Tensor& w, int64_t channels, int64_t k,
                      const std::function<int64_t(int64_t channel, int64_t k)>& index);

}  // namespace lowp::quant
